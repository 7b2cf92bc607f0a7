import BuiltInGuest
import Glibc
import GuestSupport
import LinuxSystem
import Machine
import Migration
import MigrationTestSupport
import Synchronization
import Testing
import Transports

/// Connections that can be cut from outside, as by a router that dies.
private final class CuttableLink: MigrationConnector, MigrationListener {
    let address: String
    let canOpenMore = true
    let acceptsMore = true
    private let connector: any MigrationConnector
    private let listener: any MigrationListener
    private let channels = Mutex<[any MigrationChannel]>([])

    init(_ sides: (any MigrationConnector, any MigrationListener)) {
        (connector, listener) = sides
        address = connector.address
    }

    func open() throws(ChannelError) -> any MigrationChannel { keep(try connector.open()) }
    func accept() throws(ChannelError) -> any MigrationChannel { keep(try listener.accept()) }

    private func keep(_ channel: any MigrationChannel) -> any MigrationChannel {
        channels.withLock { $0.append(channel) }
        return channel
    }

    func cancel() {
        connector.cancel()
        listener.cancel()
    }

    /// What is on its way is lost, on all connections.
    func cut() { for channel in channels.withLock({ $0 }) { channel.shutDown() } }
}

@Suite(
    "Cut links", .enabled(if: hasKVM, "/dev/kvm cannot be opened"),
    .enabled(if: hasUserFault, "userfaultfd is not permitted"), .serialized, .timeLimit(.minutes(5)))
struct CutLinkTests {
    /// How often links are cut in one run; `APUS_CUTS` is another number.
    private static let cutCount = getenv("APUS_CUTS").flatMap { Int(String(cString: $0)) } ?? 100
    /// How often the link of one move is cut.
    private static let cutsOfOneMove = 9

    private func options(_ random: inout some RandomNumberGenerator) -> MigrationOptions {
        var options = MigrationOptions()
        options.allowsPostcopy = true
        options.dialect.hasPreemptChannel = Bool.random(using: &random)
        // Slow enough for so many cuts.
        options.maximumPostcopyBandwidth = 40 << 20
        return options
    }

    /// What many moves came to.
    private struct Tally {
        var cuts = 0
        var recoveries = 0
        var arrivals = 0
        var moves = 0
    }

    @Test func `a guest is whole at the destination though its link was cut a hundred times`() throws {
        let seed = getenv("APUS_SEED").flatMap { UInt64(String(cString: $0)) } ?? .random(in: 0...9999)
        print("cutting links at moments of seed \(seed); APUS_SEED=n repeats them")
        var random = SeededGenerator(seed: seed)
        var tally = Tally()
        // A move that is cut before the guest could leave, or that has arrived before it is cut, counts for little.
        while tally.cuts < Self.cutCount && tally.moves < Self.cutCount { try move(&tally, &random) }
        print("\(tally)")
        #expect(tally.cuts >= Self.cutCount)
        #expect(tally.recoveries >= Self.cutCount / 2 && tally.arrivals > tally.moves / 2)
    }

    /// One guest moves, and its link is cut again and again.
    private func move(_ tally: inout Tally, _ random: inout SeededGenerator) throws {
        let number = tally.moves
        tally.moves += 1
        let pair = try LivePair(cpuCount: 1 + number % 3)
        let first = CuttableLink(try Meeting.allCases[number % 2].sides())
        var link = first
        var cutCount = 0
        let moved = try pair.move(first, first, options(&random), postcopyPolicy(afterPasses: number % 2)) {
            outgoing, incoming in
            while cutCount < Self.cutsOfOneMove {
                guard wait(until: { outgoing.statistics.phase.isPostcopy || hasEnded(outgoing, incoming) }) else {
                    break
                }
                // In every fourth move the first cut may come before the guest could leave.
                if cutCount == 0 && !number.isMultiple(of: 4) {
                    _ = wait { outgoing.statistics.phase == .postcopyActive || hasEnded(outgoing, incoming) }
                }
                usleep(UInt32.random(in: 0...120_000, using: &random))
                link.cut()
                cutCount += 1
                let isOver = wait {
                    if outgoing.statistics.phase == .postcopyPaused,
                        incoming.statistics.phase == .postcopyRecoverSetup
                    {
                        incoming.pausePostcopy()
                    }
                    return arePaused(outgoing, incoming) || hasEnded(outgoing, incoming)
                }
                guard isOver, !hasEnded(outgoing, incoming) else { break }
                link = CuttableLink(try Meeting.tcp.sides())
                // A side may still be about to take the link before, which is cut as well: it is paused again soon.
                let isTaken = wait { incoming.recover(from: link) }
                #expect(isTaken)
                let isResumed = wait { outgoing.resume(over: link) }
                #expect(isResumed)
                // Every other time the new link is cut while the two sides still agree.
                if cutCount.isMultiple(of: 2) {
                    usleep(UInt32.random(in: 0...3000, using: &random))
                    continue
                }
                _ = wait { outgoing.statistics.phase == .postcopyActive || arePaused(outgoing, incoming) }
            }
            // Whatever the last cut left, it is connected again.
            #expect(wait { connectAgain(outgoing, incoming) })
        }
        print("move \(number): \(cutCount) cuts, \(moved.sent.recoveryCount) recoveries, \(moved.errors)")
        tally.cuts += cutCount
        tally.recoveries += moved.sent.recoveryCount
        guard moved.hasArrived else {
            // Cut before the package was there: the guest never ran at the destination, and goes on here.
            #expect(moved.received.phase == .failed && !moved.isHandedOver, "\(moved)")
            let count = pair.lines.lines.all.count
            if moved.sent.phase == .uncertain { try pair.source.resume() }
            #expect(pair.lines.lines.waitForReport(after: count)?.isClean == true && pair.isClean)
            return
        }
        tally.arrivals += 1
        #expect(moved.isHandedOver, "the source was never told: \(moved)")
        #expect(moved.received.postcopy?.missingPageCount == 0, "\(moved)")
        #expect(
            pair.reportAfterWholeCheck()?.isClean == true && pair.isClean, "\(pair.arrivedLines.lines.all.suffix(5))")
    }

    /// One step towards the end, where nothing more is cut; whether it is reached.
    private func connectAgain(_ outgoing: OutgoingMigration, _ incoming: IncomingMigration) -> Bool {
        let (here, there) = (outgoing.statistics.phase, incoming.statistics.phase)
        switch (here, there) {
        case (.completed, .completed), (.failed, _), (.uncertain, _): return true
        case (.postcopyPaused, .failed): outgoing.giveUpPostcopy()
        case (.postcopyPaused, .postcopyPaused), (.postcopyPaused, .completed):
            // A destination that had everything does not need the source, which has to be told.
            guard let link = (try? Meeting.tcp.sides()).map(CuttableLink.init) else { return false }
            if incoming.recover(from: link) { _ = outgoing.resume(over: link) }
        // It waits for a connection that was cut before it was accepted.
        case (.postcopyPaused, .postcopyRecoverSetup): incoming.pausePostcopy()
        default: break
        }
        return false
    }

    private func arePaused(_ outgoing: OutgoingMigration, _ incoming: IncomingMigration) -> Bool {
        outgoing.statistics.phase == .postcopyPaused && incoming.statistics.phase == .postcopyPaused
    }

    /// Whether nothing more can happen by itself: the destination is complete, or has never begun.
    private func hasEnded(_ outgoing: OutgoingMigration, _ incoming: IncomingMigration) -> Bool {
        incoming.statistics.phase == .completed || incoming.statistics.phase == .failed
            || outgoing.statistics.phase == .failed
    }

    @Test func `a paused guest goes on where it has its pages, and both sides say what is missing`() throws {
        let pair = try LivePair(rate: .mebibytesPerSecond(1))
        let (connector, listener) = try Meeting.tcp.sides()
        var options = MigrationOptions()
        options.allowsPostcopy = true
        options.maximumPostcopyBandwidth = 16 << 20
        let moved = try pair.move(connector, listener, options, postcopyPolicy()) { outgoing, incoming in
            #expect(wait { outgoing.statistics.postcopy.pushedPageCount > 200 })
            outgoing.pausePostcopy()
            #expect(wait { arePaused(outgoing, incoming) })
            let (sent, received) = (outgoing.statistics, incoming.statistics)
            #expect(sent.linkError == "The migration was paused." && received.linkError != nil)
            #expect(sent.remainingByteCount > 0 && received.postcopy?.missingPageCount ?? 0 > 0)
            let nobody = try MigrationAddress(parsing: "unix:/tmp/apus-nobody-\(getpid())")
            #expect(outgoing.resume(over: try Transports.connector(for: nobody)))
            let (_, again) = try Meeting.tcp.sides()
            #expect(incoming.recover(from: again))
            // Nobody listens where the source was sent first: that attempt fails, and the next one works.
            #expect(wait { outgoing.statistics.phase == .postcopyPaused })
            let way = try Transports.connector(for: try MigrationAddress(parsing: again.address))
            #expect(wait { outgoing.resume(over: way) })
        }
        #expect(moved.hasArrived && moved.isHandedOver && moved.sent.recoveryCount == 1, "\(moved)")
        #expect(pair.reportAfterWholeCheck()?.isClean == true && pair.isClean)
    }
}
