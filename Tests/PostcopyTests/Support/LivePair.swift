import BuiltInGuest
import Devices
import Glibc
import GuestMemory
import GuestSupport
import KVM
import LinuxSystem
import Machine
import Migration
import Synchronization
import Transports

let hasKVM = (try? KVMSystem()) != nil
let hasUserFault = (try? UserFault()) != nil

/// A serial port's other end that collects lines.
final class LineChannel: ByteChannel {
    let lines = SerialLines()
    func send(_ bytes: [UInt8]) { for byte in bytes { lines.append(byte) } }
    func take(_ count: Int) -> [UInt8] { [] }
    func onInput(_ handler: @escaping @Sendable () -> Void) {}
}

/// Two machines in this process, and a guest that writes all it can and moves from one to the other.
final class LivePair: Sendable {
    let source: Machine
    let destination: Machine
    let lines = LineChannel()
    let arrivedLines = LineChannel()
    private let kernelPath: String

    static let regionMebibytes = 24
    static let memoryByteCount = 40 << 20

    init(cpuCount: Int = 1, memory: MemoryMapping.Kind = .anonymous, rate: BuiltInGuestParameters.Rate = .unlimited)
        throws
    {
        kernelPath = "/tmp/apus-postcopy-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        let file = try OwnedDescriptor(opening: kernelPath, for: .replacing)
        try BuiltInGuestImage.bytes.withUnsafeBytes { try file.write(all: $0) }
        var parameters = BuiltInGuestParameters()
        parameters.regionMebibytes = Self.regionMebibytes
        parameters.dirtyRate = rate
        parameters.checkRate = .mebibytesPerSecond(400)
        parameters.pattern = .random
        parameters.period = 100
        parameters.cpuCount = cpuCount
        let clock = try KVMSystem().makeVirtualMachine()
        try clock.makeInterruptController()
        parameters.tscFrequency = try clock.makeVirtualCPU(index: 0).getTSCFrequency()
        source = try Machine(
            MachineConfiguration(
                ramByteCount: Self.memoryByteCount, memoryKind: memory, cpuCount: cpuCount,
                boot: BootSource(kernelPath: kernelPath, commandLine: parameters.commandLine), serial: lines))
        destination = try Machine(
            MachineConfiguration(
                ramByteCount: Self.memoryByteCount, memoryKind: memory, cpuCount: cpuCount, serial: arrivedLines))
    }

    deinit {
        try? source.pause()
        try? destination.pause()
        source.end()
        destination.end()
        unlink(kernelPath)
    }

    /// What became of a move.
    struct Result: Sendable {
        var hasArrived = false
        var isHandedOver = false
        var errors: [String] = []
        var sent = MigrationStatistics()
        var received = IncomingStatistics()
    }

    /// Lets the guest run, moves it, and waits for both sides.
    ///
    /// - Parameter meanwhile: Runs on the caller's thread while the guest moves.
    func move(
        _ connector: any MigrationConnector, _ listener: any MigrationListener, _ options: MigrationOptions,
        _ policy: MigrationPolicy, meanwhile: (OutgoingMigration, IncomingMigration) throws -> Void = { _, _ in }
    ) throws -> Result {
        if lines.lines.guestLines.isEmpty { try source.resume() }
        guard lines.lines.waitForReport() != nil else { return Result(errors: ["\(lines.lines.all)"]) }
        let outgoing = OutgoingMigration(machine: source, connector: connector, options: options, policy: policy)
        let incoming = IncomingMigration(machine: destination, listener: listener, dialect: options.dialect)
        let result = Mutex(Result())
        let there = try BlockingThread(name: "destination") {
            switch incoming.run(PausedGuest()) {
            case .completed(let right):
                let isRunning = right.isRunning
                result.withLock { $0.hasArrived = isRunning }
            case .failed(let error, _): result.withLock { $0.errors.append("\(error)") }
            }
        }
        let here = try BlockingThread(name: "source") {
            switch outgoing.run(.running(RunningGuest())) {
            case .completed: result.withLock { $0.isHandedOver = true }
            case .failed(let error, _):
                result.withLock { $0.errors.append("\(error)") }
                incoming.cancel()
            case .uncertain(let error, _): result.withLock { $0.errors.append("\(error)") }
            }
        }
        var failure: (any Error)?
        do { try meanwhile(outgoing, incoming) } catch { failure = error }
        here.join()
        there.join()
        if let failure { throw failure }
        var moved = result.withLock { $0 }
        moved.sent = outgoing.statistics
        moved.received = incoming.statistics
        return moved
    }

    /// The guest's report after it has looked at all of its memory once more; nil if it does not get there.
    func reportAfterWholeCheck() -> BuiltInGuestLine.Report? {
        guard let first = arrivedLines.lines.waitForReport() else { return nil }
        let pageCount = Self.regionMebibytes << 8
        return arrivedLines.lines.waitForReport { $0.checkedPageCount >= first.checkedPageCount + pageCount }
    }

    /// Whether no report of the guest, before, while and after it moved, had anything to complain of.
    var isClean: Bool {
        (lines.lines.guestLines + arrivedLines.lines.guestLines).allSatisfy { line in
            switch line {
            case .report(let report): report.isClean
            case .wrong, .failure: false
            default: true
            }
        }
    }
}

/// Post-copy after `passes`, whatever they bring.
func postcopyPolicy(afterPasses passes: Int = 0) -> MigrationPolicy {
    var rule = HybridRule()
    rule.downtimeLimit = .zero
    rule.passLimit = passes
    rule.blockedTimeWeight = 1000
    return MigrationPolicy(ending: .hybrid(rule))
}

/// Waits until `condition` holds; false if it does not within a minute.
func wait(until condition: () -> Bool) -> Bool {
    let end = ContinuousClock.now + .seconds(60)
    while !condition() {
        if ContinuousClock.now > end { return false }
        usleep(500)
    }
    return true
}
