import Foundation
import GuestSupport
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// Migrations that are given up, by a person or by a time limit, at any moment.
@Suite("Migrations given up", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct CancelTests {
    /// Milliseconds after the start; a migration without a limit takes some hundred here.
    static let moments: [UInt32] = [0, 1, 3, 7, 15, 30, 60, 100, 150, 220]

    @Test func `migrate_cancel is answered within a second, whenever it comes`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            // So slow that it cannot be over before.
            try lab.source.qmp.execute("migrate-set-parameters", ["max-bandwidth": 30_000_000, "downtime-limit": 0])
            for moment in Self.moments {
                let destination = try lab.startDestination()
                try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
                usleep(moment * 1000)
                try expectCancelIsAnswered(lab, "after \(moment) ms")
                try lab.expectEnd(of: destination, "after \(moment) ms", orWaits: true)
            }
            try lab.endPhase()
            try lab.expectGuestMoves("after all of them")
        }
    }

    @Test(arguments: Laboratory.Phase.allCases)
    func `migrate_cancel is answered within a second when the link stands still`(phase: Laboratory.Phase) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            try lab.migrate(through: proxy, upTo: phase)
            try expectCancelIsAnswered(lab, phase.rawValue)
            proxy.release()
            try lab.endPhase()
            try lab.expectGuestMoves(phase.rawValue)
        }
    }

    private func expectCancelIsAnswered(_ lab: Laboratory, _ label: String) throws {
        let start = ContinuousClock.now
        try lab.source.qmp.execute("migrate_cancel")
        try lab.source.waitForMigration(status: ["cancelled"])
        let time = ContinuousClock.now - start
        #expect(time < .seconds(1), "\(label): \(time)")
        try lab.expectWorkGoesOn(label)
    }

    @Test func `a cancel that comes after the last byte leaves the guest to the destination`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.backward, at: Laboratory.answerOffset)
            try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
            try destination.waitForMigration(status: ["completed"])
            try lab.source.qmp.execute("migrate_cancel")
            proxy.release()
            let answer = try lab.source.waitForMigration(status: ["completed", "failed", "cancelled"])
            #expect(answer["status"] == "completed", "\(answer)")
            #expect(try destination.runState() == "running")
        }
    }

    /// What `--timeout` does, and the exit status that it leads to.
    static let timeouts = [("suspend", Int32(0)), ("cancel", 3)]

    @Test(arguments: timeouts)
    func `a migration that takes longer than its limit is ended as was asked for`(
        action: String, status: Int32
    ) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try bench.startDestination("other", lab.shape)
            let last = try #require(lab.source.reports.last)
            let result = try bench.migrate(
                "limited", from: lab.source, to: destination,
                [
                    "unix:\(bench.path("wire"))", "--bandwidth", "12", "--downtime-limit", "0", "--timeout", "1",
                    "--timeout-\(action)",
                ])
            #expect(result.status == status, "\(result.report) \(result.errors)")
            if status == 0 {
                #expect(try destination.runState() == "running")
                try ArrivedGuest(from: lab.source, to: destination).expectWhole(after: last, action)
            } else {
                #expect(result.reasons.contains("The time limit of 1.0 s is over."), "\(result.reasons)")
                try lab.expectWorkGoesOn(action)
            }
        }
    }

    @Test func `an interrupt cancels, a second one leaves at once`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let slow = ["--bandwidth", "1", "--downtime-limit", "0"]
            let first = try lab.startDestination()
            let once = try bench.startMigration("once", from: lab.source, to: nil, [lab.address(of: first)] + slow)
            try once.waitForStatus("active")
            once.process.interrupt()
            let result = try once.result()
            #expect(result.status == 3)
            #expect(result.reasons == "The migration was interrupted here.")
            try lab.expectWorkGoesOn("after an interrupt")
            try lab.endPhase()
            try lab.expectGuestMoves("after an interrupt")
        }
    }

    @Test func `the command says what a person can do when no answer came`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.backward, at: Laboratory.answerOffset)
            let migration = try bench.startMigration("unanswered", from: lab.source, to: nil, [proxy.address])
            try destination.waitForMigration(status: ["completed"])
            proxy.cut()
            let result = try migration.result()
            #expect(result.status == 4, "\(result.report)")
            #expect(result.reasons.contains("apus qmp \(lab.source.qmpPath) cont"), "\(result.reasons)")
            #expect(result.reasons.contains("apus qmp \(lab.source.qmpPath) quit"), "\(result.reasons)")
        }
    }
}
