import BuiltInGuest
import Foundation
import GuestSupport
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// A guest whose memory is handed over on one host: a live upgrade of its monitor.
@Suite("Memory handed over", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct LocalTests {
    private func parameters(_ mebibytes: Int) -> BuiltInGuestParameters {
        var parameters = BuiltInGuestParameters()
        parameters.regionMebibytes = mebibytes
        parameters.dirtyRate = .mebibytesPerSecond(20)
        parameters.checkRate = .mebibytesPerSecond(100)
        parameters.period = 100
        parameters.sleepsWhenIdle = true
        return parameters
    }

    @Test(arguments: [256, 2048]) func `a guest goes from monitor to monitor, and none of its pages is copied`(
        mebibytes: Int
    ) throws {
        try Workbench.use { bench in
            let shape = MonitorShape(mebibytes: mebibytes, cpuCount: 2, sharesMemory: true)
            var current = try bench.startGuest("l0", shape, parameters(32))
            try current.waitForReports(2)
            for (index, way) in ["unix:\(bench.path("wire"))", "fd:upgrade", "unix:\(bench.path("wire2"))"].enumerated()
            {
                let label = "\(mebibytes) MiB by \(way)"
                let next = try bench.startDestination("l\(index + 1)", shape)
                let result = try bench.migrate("hop\(index)", from: current, to: next, [way, "--local"])
                try #require(result.status == 0, "\(label): \(result.reasons) \(result.errors) \(next.complaints)")
                #expect(result.report["normal-pages"]?.int == 0 && result.report["zero-pages"]?.int == 0, "\(label)")
                #expect((result.report["sent-bytes"]?.int ?? .max) < 1 << 20, "\(label): \(result.report)")
                // What is promised of an optimized program on a quiet host is the bench's to say; this is not.
                let downtime = try #require(result.downtime)
                print("\(label): downtime \(downtime) ms")
                #expect(downtime < 1000, "\(label)")
                let last = try #require(current.reports.last)
                let arrived = try ArrivedGuest(from: current, to: next)
                arrived.expectWhole(after: last, label)
                arrived.expectGap(toFit: result, label)
                // Both have the memory now; only one may use it.
                let refusal = try bench.refusal(of: "cont", by: current)
                #expect(refusal.contains("was handed over to another monitor"), "\(label): \(refusal)")
                #expect(try current.runState() == "postmigrate" && next.runState() == "running", "\(label)")
                try current.quit()
                current = next
            }
            // Memory that came so is no other memory: it goes on by copying as any does.
            let last = try #require(current.reports.last)
            let copy = try bench.startDestination("copy", shape)
            let result = try bench.migrate("copied", from: current, to: copy, ["tcp:127.0.0.1:0"])
            try #require(result.status == 0, "\(result.reasons) \(result.errors)")
            try ArrivedGuest(from: current, to: copy).expectWhole(after: last, "copied")
        }
    }

    @Test(arguments: [Laboratory.Phase.setup, .preSwitchover, .deviceState], ["source", "destination"])
    func `a side that is killed leaves the guest's memory to the other`(phase: Laboratory.Phase, side: String) throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench, isLocal: true)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            try lab.migrate(through: proxy, upTo: phase)
            if side == "source" {
                lab.source.kill()
                // So little may have been sent whole; what the proxy holds of it is lost with the source.
                proxy.cut()
                try lab.expectEnd(of: destination, "\(phase)")
            } else {
                destination.kill()
                proxy.release()
                try lab.expectFailureAtSource("\(phase)")
                try lab.endPhase()
                try lab.expectGuestMoves("\(phase)")
            }
        }
    }

    @Test func `a source that gets no answer cannot go on while the destination has the memory`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench, isLocal: true)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.backward, at: Laboratory.answerOffset)
            try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
            try destination.waitForMigration(status: ["completed"])
            let last = try #require(lab.source.reports.last)
            proxy.cut()
            let answer = try lab.source.waitForMigration(status: ["failed"])
            #expect(answer["hand-over"] == "unknown", "\(answer)")
            #expect(try bench.refusal(of: "cont", by: lab.source).contains("was handed over"))
            #expect(try lab.source.runState() == "postmigrate" && destination.runState() == "running")
            try ArrivedGuest(from: lab.source, to: destination).expectWhole(after: last, "no answer")
        }
    }

    @Test func `a source whose destination ran the guest and died starts it anew, and does not let it go on`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench, isLocal: true)
            let destination = try lab.startDestination()
            try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
            try lab.source.waitForMigration(status: ["completed"])
            try destination.waitForReports(2)
            destination.kill()
            let refusal = try bench.refusal(of: "cont", by: lab.source)
            #expect(refusal.contains("where the guest has run on"), "\(refusal)")
            #expect(try lab.source.runState() == "postmigrate")
            try lab.source.qmp.execute("system_reset")
            try lab.source.qmp.execute("cont")
            try lab.expectWorkGoesOn("after a reset")
            try lab.expectGuestMoves("after a reset")
        }
    }

    @Test func `what is in the way is said before anything happens`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench, isLocal: true)
            let tcp = try bench.migrate("tcp", from: lab.source, to: nil, ["tcp:127.0.0.1:1", "--local"])
            #expect(tcp.status == 2 && tcp.errors.contains("needs a UNIX socket"), "\(tcp.errors)")
            let channels = try bench.migrate(
                "channels", from: lab.source, to: nil, ["unix:/nowhere", "--local", "--channels", "2"])
            #expect(
                channels.status == 2 && channels.errors.contains("local conflicts with multifd"), "\(channels.errors)")
            let plain = try bench.startDestination("plain", MonitorShape())
            let kind = try bench.migrate(
                "kind", from: lab.source, to: plain, ["unix:\(bench.path("plain.wire"))", "--local"])
            #expect(kind.status == 2 && kind.errors.contains("--memory SIZE,shared=on"), "\(kind.errors)")
            let other = try lab.startDestination(MonitorShape(mebibytes: 32, sharesMemory: true))
            try lab.source.setCapabilities(["local"])
            try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: other))])
            try lab.expectFailureAtSource("other size")
            try lab.expectEnd(of: other, "other size")
            let sentence = "RAM block microvm.ram is 32 MiB here and 64 MiB in the stream."
            #expect(other.complaints == "apus: \(sentence)\n")
            let reason = try lab.source.qmp.execute("query-migrate")["error-desc"]?.string ?? ""
            #expect(reason == "The destination could not load the guest: \(sentence)")
            try lab.expectGuestMoves("after all")
        }
    }
}

extension Workbench {
    /// What a monitor says to a command that it does not do; empty if it does it.
    fileprivate func refusal(of command: String, by monitor: ApusMonitor) throws -> String {
        do { try monitor.qmp.execute(command) } catch { return "\(error)" }
        return ""
    }
}
