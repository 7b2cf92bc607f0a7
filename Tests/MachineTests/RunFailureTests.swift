import BuiltInGuest
import Foundation
import GuestSupport
import LinuxSystem
import Testing

private let isRoot = FileSystem.userID == 0

/// What `apus run` says when something cannot be had: one line, status 1, and nothing is left running.
@Suite("Failures of apus run", .serialized, .enabled(if: hasKVM, "/dev/kvm cannot be opened"))
struct RunFailureTests {
    private let folder: TemporaryFolder
    private let kernel: String

    init() throws {
        folder = try TemporaryFolder()
        kernel = folder.path + "/kernel"
        try Data(BuiltInGuestImage.bytes).write(to: URL(fileURLWithPath: kernel))
    }

    private func file(_ name: String, _ bytes: Data) throws -> String {
        let path = "\(folder.path)/\(name)"
        try bytes.write(to: URL(fileURLWithPath: path))
        return path
    }

    /// Runs it to its end and expects one line with `answer`.
    private func expect(_ answer: String, _ arguments: [String], program: String = apusProgram) throws {
        let process = try GuestProcess(program: program, arguments: arguments)
        let end = try process.waitForEnd(for: .seconds(60))
        #expect(end == .exited(status: 1), "\(arguments)")
        let lines = process.complaints.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].hasPrefix("apus: ") && lines[0].contains(answer), "\(lines)")
    }

    private var options: [String] { ["run", "--kernel", kernel, "--memory", "32M", "--serial", "none"] }

    @Test(.enabled(if: isRoot && FileSystem.program("unshare") != nil, "needs root and unshare"))
    func `no /dev/kvm`() throws {
        try expect(
            "KVM cannot be used (open /dev/kvm: No such file or directory). `apus doctor` says what to do.",
            [
                "--mount", "sh", "-c", #"mount -t tmpfs none /dev && exec "$0" "$@""#, apusProgram,
            ] + options, program: "unshare")
    }

    @Test(.enabled(if: FileSystem.text(of: "/proc/sys/vm/overcommit_memory") != "1\n", "the host promises any memory"))
    func `memory that the host does not have`() throws {
        try expect(
            "33554432 MiB of guest memory cannot be had: mmap", ["run", "--kernel", kernel, "--memory", "32T"])
    }

    @Test func `huge pages that the pool does not have`() throws {
        try expect(
            "huge pages of 2 MiB are needed and the host's pool has",
            [
                "run", "--kernel", kernel, "--memory", "1T,hugepages=2M",
            ])
    }

    @Test func `a kernel that is none`() throws {
        let text = try file("text", Data("#!/bin/sh\n".utf8))
        try expect("\(text) is no Linux bzImage and no ELF kernel", ["run", "--kernel", text])
        let empty = try file("empty", Data())
        try expect(empty, ["run", "--kernel", empty])
        let cut = try file("cut", Data(BuiltInGuestImage.bytes.prefix(100)))
        try expect(cut, ["run", "--kernel", cut])
        try expect(folder.path, ["run", "--kernel", folder.path])
    }

    @Test func `a disk that is missing, a folder, or in use`() throws {
        try expect("open /nowhere/disk: No such file or directory", options + ["--disk", "/nowhere/disk"])
        try expect("\(folder.path)", options + ["--disk", folder.path])
        let disk = try file("disk", Data(count: 1 << 20))
        let holder = try GuestProcess(program: apusProgram, arguments: options + ["--disk", disk, "--paused"])
        try waitForLock(disk)
        try expect(
            "The disk image \(disk) is in use by another process, which does not let it be written.",
            options + ["--disk", disk])
        try expect(
            "The disk image \(disk) is being written by another process.", options + ["--disk", "\(disk),readonly"])
        holder.stop()
        let later = try GuestProcess(program: apusProgram, arguments: options + ["--disk", disk, "--paused"])
        try waitForLock(disk)
        later.stop()
    }

    @Test(.enabled(if: isRoot, "only root is told that a tap is missing")) func `a tap that does not exist`() throws {
        try expect(
            "--net tap=apusnone0: there is no such tap; `ip tuntap add dev apusnone0 mode tap` makes one.",
            options + ["--net", "tap=apusnone0"])
    }

    @Test func `a socket that is taken by a folder`() throws {
        try expect(folder.path, options + ["--qmp", "unix:\(folder.path)"])
    }

    @Test func `a file to come from that is not there, and one that is no stream`() throws {
        try expect(
            "/nowhere/stream", ["run", "--memory", "32M", "--serial", "none", "--incoming", "file:/nowhere/stream"])
        let text = try file("stream", Data("no stream at all".utf8))
        let process = try GuestProcess(
            program: apusProgram,
            arguments: ["run", "--memory", "32M", "--serial", "none", "--incoming", "file:\(text)"])
        #expect(try process.waitForEnd(for: .seconds(60)) == .exited(status: 1))
        #expect(process.complaints.hasPrefix("apus: ") && process.complaints.contains(text), "\(process.complaints)")
    }

    /// Whatever a client leaves half done, the next one finds a monitor that works.
    @Test func `a QMP client that dies in the middle of a command`() throws {
        let socket = folder.path + "/qmp"
        let guest = try GuestProcess(program: apusProgram, arguments: options + ["--qmp", "unix:\(socket)"])
        _ = try MonitorLine(path: socket)
        let greeting = #"{"execute": "qmp_capabilities"}"#
        for text in [
            #"{"execute": "#, greeting + #"{"execute": "query-st"#, greeting + #"{"execute": "stop"}"#,
            greeting + #"{"execute": "cont"}{"execute": "migrate", "arguments": {"uri""#,
            greeting + #"{"execute": "migrate", "arguments": {"uri": "file:/nowhere/x"}}"#, "\u{0}\u{0}\u{0}",
        ] {
            let client = try Socket(connectingTo: .unix(path: socket))
            try Array(text.utf8).withUnsafeBytes { try client.send(all: $0) }
            // Its end closes the connection with answers unread.
        }
        let monitor = try MonitorLine(path: socket)
        try monitor.execute("cont")
        #expect(try monitor.execute("query-status")["status"] as? String == "running")
        try monitor.execute("quit")
        #expect(try guest.waitForEnd(for: .seconds(60)) == .exited(status: 0))
        #expect(guest.complaints == "")
    }

    private func waitForLock(_ path: String) throws {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        let inode = try #require(attributes[.systemFileNumber] as? Int)
        let end = ContinuousClock.now + .seconds(60)
        while ContinuousClock.now < end {
            if (FileSystem.text(of: "/proc/locks") ?? "").contains(":\(inode) 201 201") { return }
            Gate().wait(for: .milliseconds(20))
        }
        Issue.record("\(path) was not locked within a minute")
    }
}
