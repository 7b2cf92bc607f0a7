import BuiltInGuest
import Foundation
import Testing

@testable import PeerSupport

/// A source whose guest works, and what is needed to let its migrations fail.
final class Laboratory {
    /// How far a migration has come.
    enum Phase: String, CaseIterable, Sendable {
        case setup
        case firstPass = "the first pass"
        case laterPass = "a later pass"
        case preSwitchover = "before the switchover"
        case deviceState = "the device state"
    }

    /// Where the answer begins in what the destination sends back: behind the answers to two pings.
    static let answerOffset = 16

    let source: ApusMonitor
    let shape: MonitorShape
    private let bench: Workbench
    private let channelCount: Int
    /// Whether memory is handed over instead of being copied.
    private let isLocal: Bool
    private var destinationCount = 0

    /// - Parameter options: more of `apus run`'s, for the source and its destinations.
    init(_ bench: Workbench, channelCount: Int = 0, options: [String] = [], isLocal: Bool = false) throws {
        self.bench = bench
        shape = MonitorShape(options: options, sharesMemory: isLocal)
        self.isLocal = isLocal
        self.channelCount = channelCount
        var parameters = BuiltInGuestParameters()
        parameters.regionMebibytes = 8
        parameters.dirtyRate = .mebibytesPerSecond(20)
        parameters.checkRate = .mebibytesPerSecond(100)
        parameters.period = 100
        parameters.sleepsWhenIdle = true
        source = try bench.startGuest("source", shape, parameters)
        try setUp(source)
        // All of its memory is written once, so that a pass has something to send.
        try source.waitForReports(upTo: 6)
    }

    private func setUp(_ monitor: ApusMonitor) throws {
        try monitor.setCapabilities(
            ["events", "return-path"] + (channelCount > 0 ? ["multifd"] : []) + (isLocal ? ["local"] : []))
        if channelCount > 0 {
            try monitor.qmp.execute("migrate-set-parameters", ["multifd-channels": .number(Double(channelCount))])
        }
    }

    /// A new destination, which listens.
    func startDestination(_ other: MonitorShape? = nil) throws -> ApusMonitor {
        destinationCount += 1
        let destination = try bench.startDestination("to\(destinationCount)", other ?? shape)
        try setUp(destination)
        try destination.qmp.execute("migrate-incoming", ["uri": .string(address(of: destination))])
        return destination
    }

    func address(of destination: ApusMonitor) -> String { "unix:\(bench.path(destination.name + ".wire"))" }

    func startProxy(to destination: ApusMonitor) throws -> LinkProxy {
        try LinkProxy(
            at: bench.path("\(destination.name).proxy"), to: bench.path("\(destination.name).wire"))
    }

    /// Starts a migration and lets it come as far as `phase`, where it stays.
    func migrate(through proxy: LinkProxy, upTo phase: Phase) throws {
        switch phase {
        case .setup: proxy.hold(.forward, at: 20)
        case .firstPass: proxy.hold(.forward, at: 1 << 20)
        case .laterPass:
            // No pass of a guest that writes this fast gets below a downtime of a millisecond.
            try source.qmp.execute("migrate-set-parameters", ["max-bandwidth": 30_000_000, "downtime-limit": 0])
        case .preSwitchover: try source.setCapabilities(["pause-before-switchover"])
        case .deviceState: try leaveMuchForSwitchover(through: proxy)
        }
        try source.qmp.execute("migrate", ["uri": .string(proxy.address)])
        switch phase {
        case .setup: try proxy.wait(for: .forward, toReach: 20)
        case .firstPass: try proxy.wait(for: .forward, toReach: 1 << 20)
        case .laterPass:
            let passCount = try source.qmp.ask("query-migrate", within: .seconds(60)) { answer -> Int? in
                answer["ram"]?["dirty-sync-count"]?.int.flatMap { $0 < 3 ? nil : $0 }
            }
            try #require(passCount != nil, "no third pass")
        case .preSwitchover: try source.waitForMigration(status: ["pre-switchover"])
        case .deviceState:
            try source.waitForMigration(status: ["pre-switchover"])
            let count = proxy.count(.forward) + 4000
            proxy.hold(.forward, at: count)
            try source.qmp.execute("migrate-continue", ["state": "pre-switchover"])
            try proxy.wait(for: .forward, toReach: count)
        }
    }

    /// Lets the next migration stop before the switchover with more left than a socket takes (4 MiB), so that the source
    /// cannot send everything while the proxy holds, or before it cuts: the link is so slow that the region is written
    /// once more while a pass lasts.
    func leaveMuchForSwitchover(through proxy: LinkProxy) throws {
        proxy.slow(to: 10_000_000)
        try source.setCapabilities(["pause-before-switchover"])
        try source.qmp.execute("migrate-set-parameters", ["downtime-limit": 2000])
    }

    /// Takes back what `migrate(through:upTo:)` and `leaveMuchForSwitchover` set at the source.
    func endPhase() throws {
        try source.setCapabilities(["pause-before-switchover"], to: false)
        try source.qmp.execute("migrate-set-parameters", ["max-bandwidth": 0, "downtime-limit": 300])
    }

    /// The migration has failed with a sentence, and the guest works on at the source.
    func expectFailureAtSource(_ label: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let answer = try source.waitForMigration(status: ["failed"])
        let reason = answer["error-desc"]?.string ?? ""
        print("\(label): the source: \(reason)")
        #expect(reason.hasSuffix("."), "\(label): '\(reason)' is no sentence", sourceLocation: sourceLocation)
        #expect(answer["hand-over"] == nil, "\(label): \(answer)", sourceLocation: sourceLocation)
        try expectWorkGoesOn(label, sourceLocation: sourceLocation)
    }

    /// The guest runs at the source, and its checks find nothing.
    func expectWorkGoesOn(_ label: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(try source.runState() == "running", "\(label)", sourceLocation: sourceLocation)
        for report in try source.waitForReports(1) {
            #expect(report.isClean, "\(label): \(report)", sourceLocation: sourceLocation)
        }
    }

    /// The destination has given up with status 1 and one sentence; or it waits on, if nobody came to it yet.
    func expectEnd(
        of destination: ApusMonitor, _ label: String, orWaits: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        // On a busy host it may still be about to end, and does so while it is asked.
        if orWaits, try destination.process.waitForExit(for: 1) == nil, let state = try? destination.runState() {
            #expect(state == "inmigrate", "\(label)", sourceLocation: sourceLocation)
            try destination.quit()
            return
        }
        let status = try destination.process.waitForExit(within: .seconds(60))
        let complaints = destination.complaints
        print("\(label): the destination: \(complaints)", terminator: "")
        #expect(status == 1, "\(label): \(complaints)", sourceLocation: sourceLocation)
        #expect(
            complaints.hasPrefix("apus: ") && complaints.hasSuffix(".\n")
                && complaints.split(separator: "\n").count == 1,
            "\(label): \(complaints)", sourceLocation: sourceLocation)
        #expect(destination.serial.text == "", "\(label): it ran the guest", sourceLocation: sourceLocation)
    }

    /// A migration to a new destination succeeds, and the guest's checks find nothing there.
    func expectGuestMoves(_ label: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let destination = try startDestination()
        let last = try #require(source.reports.last, sourceLocation: sourceLocation)
        try source.qmp.execute("migrate", ["uri": .string(address(of: destination))])
        let answer = try source.waitForMigration(status: ["completed", "failed"])
        #expect(answer["status"] == "completed", "\(label): \(answer)", sourceLocation: sourceLocation)
        #expect(try source.runState() == "postmigrate", "\(label)", sourceLocation: sourceLocation)
        try ArrivedGuest(from: source, to: destination)
            .expectWhole(after: last, label, sourceLocation: sourceLocation)
    }
}
