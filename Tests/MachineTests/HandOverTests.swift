import BuiltInGuest
import Foundation
import GuestSupport
import LinuxSystem
import Testing

/// Disks at the hand-over, with two real processes and one image.
@Suite("Disks at the hand-over", .serialized, .enabled(if: hasKVM, "/dev/kvm cannot be opened"))
struct HandOverTests {
    private let folder: TemporaryFolder
    private let disk: String

    init() throws {
        folder = try TemporaryFolder()
        disk = folder.path + "/disk"
        try Data(count: 1 << 20).write(to: URL(fileURLWithPath: disk))
    }

    private func start(_ name: String, _ arguments: [String]) throws -> (GuestProcess, MonitorLine) {
        let process = try GuestProcess(
            program: apusProgram,
            arguments: [
                "run", "--memory", "32M", "--disk", disk, "--qmp", "unix:\(folder.path)/\(name)",
            ] + arguments)
        return (process, try MonitorLine(path: "\(folder.path)/\(name)", within: .seconds(60)))
    }

    private func source() throws -> (GuestProcess, MonitorLine) {
        let kernel = folder.path + "/kernel"
        try Data(BuiltInGuestImage.bytes).write(to: URL(fileURLWithPath: kernel))
        return try start("a", ["--kernel", kernel, "--cmdline", try livelyParameters().commandLine])
    }

    /// Whether `query-block` says that the disk is this monitor's.
    private func isActive(_ monitor: MonitorLine) throws -> Bool {
        let disks = try #require(try monitor.execute(list: "query-block"))
        let inserted = try #require(disks.first?["inserted"] as? [String: Any])
        #expect(inserted["file"] as? String == disk && (disks[0]["device"] as? String) == "virtio0")
        let image = try #require(inserted["image"] as? [String: Any])
        #expect(image["virtual-size"] as? Int == 1 << 20)
        return inserted["active"] as? Bool == true
    }

    @Test func `the image goes to the destination, and the source cannot go on without it`() throws {
        let (first, here) = try source()
        let (second, there) = try start("b", ["--incoming", "unix:\(folder.path)/stream"])
        try there.waitUntilListening()
        let last = try #require(first.lines.waitForReport(), "\(first.lines.all) \(first.complaints)")
        #expect(try isActive(here) && !isActive(there))
        try here.execute("migrate", #"{"uri": "unix:\#(folder.path)/stream"}"#)
        #expect(try here.waitForMigration()["status"] as? String == "completed")
        let report = try #require(
            second.lines.waitForReport { $0.checkedPageCount > last.checkedPageCount },
            "\(second.lines.all) \(second.complaints)")
        #expect(report.isClean)
        #expect(try !isActive(here) && isActive(there))
        // It came without a kernel: a reset has nothing to start, and harms nothing.
        let refusal = #expect(throws: MonitorLine.Failure.self) { try there.execute("system_reset") }
        #expect(refusal?.description.contains("no --kernel was given for it") == true)
        #expect(second.lines.waitForReport { $0.checkedPageCount > report.checkedPageCount }?.isClean == true)
        let error = #expect(throws: MonitorLine.Failure.self) { try here.execute("cont") }
        #expect(error?.description.contains("The disk image \(disk) is in use by another process") == true)
        #expect(try here.execute("query-status")["running"] as? Bool == false)
        try there.execute("quit")
        _ = try second.waitForEnd(for: .seconds(60))
        // The destination is gone and its locks with it: now the source may.
        try here.execute("cont")
        #expect(try here.execute("query-status")["running"] as? Bool == true)
    }

    @Test func `a destination that cannot have the image fails, and the source goes on with it`() throws {
        let (first, here) = try source()
        let other = folder.path + "/other"
        try Data(count: 1 << 20).write(to: URL(fileURLWithPath: other))
        let holder = try GuestProcess(
            program: apusProgram,
            arguments: [
                "run", "--memory", "32M", "--serial", "none", "--kernel", folder.path + "/kernel", "--paused", "--disk",
                other, "--qmp", "unix:\(folder.path)/c",
            ])
        _ = try MonitorLine(path: folder.path + "/c", within: .seconds(60))
        let second = try GuestProcess(
            program: apusProgram,
            arguments: [
                "run", "--memory", "32M", "--serial", "none", "--disk", other, "--incoming",
                "unix:\(folder.path)/stream", "--qmp", "unix:\(folder.path)/b",
            ])
        try MonitorLine(path: folder.path + "/b", within: .seconds(60)).waitUntilListening()
        let last = try #require(first.lines.waitForReport(), "\(first.lines.all) \(first.complaints)")
        try here.execute(
            "migrate-set-capabilities", #"{"capabilities": [{"capability": "return-path", "state": true}]}"#)
        try here.execute("migrate", #"{"uri": "unix:\#(folder.path)/stream"}"#)
        #expect(try here.waitForMigration()["status"] as? String == "failed")
        #expect(try second.waitForEnd(for: .seconds(60)) == .exited(status: 1))
        #expect(
            second.complaints.contains("The disk image \(other) is in use by another process"), "\(second.complaints)")
        let report = first.lines.waitForReport { $0.checkedPageCount > last.checkedPageCount + 4096 }
        #expect(report?.isClean == true, "\(first.lines.all) \(first.complaints)")
        #expect(try isActive(here))
        holder.stop()
    }
}
