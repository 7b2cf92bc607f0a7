import BuiltInGuest
import Foundation
import GuestSupport
import KVM
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)
private let hasDirtyRings = ((try? KVMSystem())?.value(of: .dirtyRing) ?? 0) > 0

/// A guest that writes much faster than it is sent, held by a limit for each virtual CPU.
@Suite("Throttles", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct ThrottleMatrixTests {
    private var parameters: BuiltInGuestParameters {
        var parameters = BuiltInGuestParameters()
        parameters.regionMebibytes = 16
        parameters.dirtyRate = .unlimited
        parameters.pattern = .hot(mebibytes: 8)
        parameters.checkRate = .mebibytesPerSecond(100)
        parameters.period = 200
        return parameters
    }

    @Test(.enabled(if: hasDirtyRings, "KVM has no dirty rings"))
    func `a dirty limit lets a guest arrive, and query-migrate tells how it is held`() throws {
        try Workbench.use { bench in
            let shape = MonitorShape(cpuCount: 2, options: ["--dirty-ring", "4096"])
            let source = try bench.startGuest("limited", shape, parameters)
            try source.waitForReports(2)
            let destination = try bench.startDestination("to", shape)
            let migration = try bench.startMigration(
                "move", from: source, to: destination,
                [
                    // No downtime is short enough, so that the time limit ends it, however slow this host is today.
                    "tcp:127.0.0.1:0", "--bandwidth", "24", "--downtime-limit", "0", "--timeout", "6", "--throttle",
                    "dirty-limit", "--dirty-limit-rate", "4",
                ])
            let limit = TimeLimit.seconds(60)
            var held: Int?
            while held == nil, limit.remainingSeconds > 0 {
                let answer = try source.qmp.execute("query-migrate")
                if let time = answer["dirty-limit-throttle-time-per-round"]?.int, time > 0 {
                    held = time
                    #expect(answer["dirty-limit-ring-full-time"]?.int ?? 0 > 0, "\(answer)")
                }
                if ["completed", "failed"].contains(answer["status"]?.string) { break }
                usleep(5000)
            }
            let result = try migration.result()
            #expect(result.status == 0, "\(result.reasons) \(result.errors)")
            #expect(held != nil, "nobody was held")
            let last = try #require(source.reports.last)
            // The limit is lifted where the guest arrives.
            try ArrivedGuest(from: source, to: destination).expectWhole(after: last, "dirty limit")
        }
    }
}
