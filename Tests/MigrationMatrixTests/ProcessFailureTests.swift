import BuiltInGuest
import Foundation
import GuestSupport
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// A guest that works, and what becomes of it when a migration fails: processes are killed and links are cut.
@Suite("Failures of migrations", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct ProcessFailureTests {
    /// Where each cut falls: in the header, the configuration, the block list, the pages.
    static let forwardOffsets = [0, 1, 7, 8, 33, 34, 61, 200, 4096, 100_000, 3 << 20]
    /// In the answer to the first ping, 8 bytes.
    static let backwardOffsets = [0, 1, 7]

    @Test(arguments: [0, 2])
    func `a link that is cut at any byte of the passes leaves the guest at the source, and it can be moved`(
        channelCount: Int
    ) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench, channelCount: channelCount)
            var cuts = Self.forwardOffsets.map { (LinkProxy.Direction.forward, $0) }
            cuts += Self.backwardOffsets.map { (.backward, $0) }
            for (direction, offset) in cuts {
                let label = "\(direction) \(offset)"
                let destination = try lab.startDestination()
                let proxy = try lab.startProxy(to: destination)
                proxy.cut(direction, at: offset)
                try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
                try lab.expectFailureAtSource(label)
                if direction == .forward && offset < 4 {
                    // Nobody knows yet that this was a migration: it waits for one.
                    #expect(try destination.runState() == "inmigrate", "\(label)")
                    try destination.quit()
                } else {
                    try lab.expectEnd(of: destination, label)
                }
                proxy.close()
            }
            try lab.expectGuestMoves("after all cuts")
        }
    }

    /// Bytes behind the point where the guest has been stopped: last pages, device state, the end.
    @Test func `a link that is cut while the guest is handed over leaves it on one side`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            for offset in [0, 1, 600, 6000, 16_000] {
                let label = "\(offset) bytes after the guest stopped"
                let destination = try lab.startDestination()
                let proxy = try lab.startProxy(to: destination)
                try lab.leaveMuchForSwitchover(through: proxy)
                try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
                try lab.source.waitForMigration(status: ["pre-switchover"])
                proxy.cut(.forward, at: proxy.count(.forward) + offset)
                try lab.source.qmp.execute("migrate-continue", ["state": "pre-switchover"])
                try lab.expectFailureAtSource(label)
                try lab.expectEnd(of: destination, label)
                proxy.close()
            }
            try lab.endPhase()
            try lab.expectGuestMoves("after all cuts")
        }
    }

    /// The answer is the 8 bytes behind the answer to the first ping.
    @Test(arguments: [Laboratory.answerOffset, Laboratory.answerOffset + 7])
    func `a source that gets no answer stands still, says so, and the destination has the guest`(
        byteCount: Int
    ) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.backward, at: byteCount)
            try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
            try destination.waitForMigration(status: ["completed"])
            let last = try #require(lab.source.reports.last)
            proxy.cut()
            let answer = try lab.source.waitForMigration(status: ["failed"])
            #expect(answer["hand-over"] == "unknown")
            #expect(answer["error-desc"]?.string?.contains("so it may run the guest") == true, "\(answer)")
            #expect(try lab.source.runState() == "postmigrate")
            #expect(try destination.runState() == "running")
            try ArrivedGuest(from: lab.source, to: destination).expectWhole(after: last, "no answer")
            #expect(try lab.source.quit() == 0)
        }
    }

    @Test func `a source whose destination died before it answered goes on when it is told to`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.backward, at: Laboratory.answerOffset)
            try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
            try destination.waitForMigration(status: ["completed"])
            destination.kill()
            proxy.cut()
            let answer = try lab.source.waitForMigration(status: ["failed"])
            #expect(answer["hand-over"] == "unknown")
            try lab.source.qmp.execute("cont")
            try lab.expectWorkGoesOn("after cont")
            try lab.expectGuestMoves("after cont")
        }
    }

    @Test(arguments: Laboratory.Phase.allCases)
    func `a destination that is killed leaves the guest at the source, and it can be moved`(
        phase: Laboratory.Phase
    ) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            try lab.migrate(through: proxy, upTo: phase)
            destination.kill()
            proxy.release()
            try lab.expectFailureAtSource("\(phase)")
            try lab.endPhase()
            try lab.expectGuestMoves("\(phase)")
        }
    }

    @Test(arguments: Laboratory.Phase.allCases)
    func `a destination whose source is killed does not run half a guest, and says why`(
        phase: Laboratory.Phase
    ) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            try lab.migrate(through: proxy, upTo: phase)
            lab.source.kill()
            proxy.release()
            try lab.expectEnd(of: destination, "\(phase)")
        }
    }
}
