import BuiltInGuest
import Foundation
import GuestSupport
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// Devices and disks that fail in the middle of a hand-over.
@Suite("Failing devices and disks", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct DeviceFailureTests {
    @Test(arguments: [1, 2, 5, 12])
    func `a device that cannot be saved leaves the guest at the source, and it can be moved`(number: Int) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench, options: ["--fail-device", "save:\(number)"])
            let destination = try lab.startDestination(MonitorShape())
            try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
            try lab.expectFailureAtSource("save \(number)")
            try lab.expectEnd(of: destination, "save \(number)")
            try lab.expectGuestMoves("save \(number)")
        }
    }

    @Test func `each device that cannot be loaded is named, and the guest stays at the source`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            var number = 1
            while true {
                let label = "load \(number)"
                let last = try #require(lab.source.reports.last)
                let destination = try lab.startDestination(MonitorShape(options: ["--fail-device", "load:\(number)"]))
                try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
                let answer = try lab.source.waitForMigration(status: ["completed", "failed"])
                if answer["status"] == "completed" {
                    // More than the machine has devices.
                    #expect(number > 10)
                    return try ArrivedGuest(from: lab.source, to: destination).expectWhole(after: last, label)
                }
                try lab.expectFailureAtSource(label)
                try lab.expectEnd(of: destination, label)
                #expect(destination.complaints.contains("fails on purpose"), "\(destination.complaints)")
                number += 1
            }
        }
    }

    @Test func `a destination that cannot have its disk says so, and the guest goes on with the disk it had`() throws {
        try Workbench.use { bench in
            for name in ["own", "other"] { try Data(count: 1 << 20).write(to: URL(filePath: bench.path(name))) }
            let lab = try Laboratory(bench, options: ["--disk", bench.path("own")])
            let holder = try bench.startGuest(
                "holder", MonitorShape(options: ["--disk", bench.path("other")]), .init())
            let destination = try lab.startDestination(MonitorShape(options: ["--disk", bench.path("other")]))
            try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
            try lab.expectFailureAtSource("a locked disk")
            try lab.expectEnd(of: destination, "a locked disk")
            #expect(destination.complaints.contains(bench.path("other")), "\(destination.complaints)")
            holder.kill()
            try lab.expectGuestMoves("a locked disk")
        }
    }

    @Test func `a source that gets no answer takes its disk back if the destination is dead`() throws {
        try Workbench.use { bench in
            try Data(count: 1 << 20).write(to: URL(filePath: bench.path("own")))
            let lab = try Laboratory(bench, options: ["--disk", bench.path("own")])
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.backward, at: Laboratory.answerOffset)
            try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
            try destination.waitForMigration(status: ["completed"])
            destination.kill()
            proxy.cut()
            try lab.expectFailureAtSource("a dead destination")
            try lab.expectGuestMoves("a dead destination")
        }
    }

    @Test func `a source that gets no answer stands still while the destination has the disk`() throws {
        try Workbench.use { bench in
            try Data(count: 1 << 20).write(to: URL(filePath: bench.path("own")))
            let lab = try Laboratory(bench, options: ["--disk", bench.path("own")])
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.backward, at: Laboratory.answerOffset)
            try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
            try destination.waitForMigration(status: ["completed"])
            proxy.cut()
            let answer = try lab.source.waitForMigration(status: ["failed"])
            #expect(answer["hand-over"] == "unknown", "\(answer)")
            #expect(answer["error-desc"]?.string?.contains(bench.path("own")) == true, "\(answer)")
            let refusal = #expect(throws: PeerError.self) { try lab.source.qmp.execute("cont") }
            #expect(refusal?.description.contains(bench.path("own")) == true, "\(String(describing: refusal))")
            #expect(try lab.source.runState() == "postmigrate")
            #expect(try destination.runState() == "running")
        }
    }
}
