import BuiltInGuest
import Foundation
import GuestSupport
import LinuxSystem
import Testing

/// What the options of `apus run` make, seen from outside.
@Suite("Machines of apus run", .serialized, .enabled(if: hasKVM, "/dev/kvm cannot be opened"))
struct RunTests {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try Data(BuiltInGuestImage.bytes).write(to: URL(fileURLWithPath: folder.path + "/kernel"))
        try Data(count: 1 << 20).write(to: URL(fileURLWithPath: folder.path + "/disk"))
    }

    private func options(_ parameters: BuiltInGuestParameters, memory: Int = 32) -> [String] {
        [
            "run", "--kernel", folder.path + "/kernel", "--cmdline", parameters.commandLine, "--memory", "\(memory)M",
            "--cpus", "\(parameters.cpuCount)",
        ]
    }

    @Test func `the serial port is a terminal that anybody may open`() throws {
        let guest = try GuestProcess(
            program: apusProgram, arguments: options(try livelyParameters()) + ["--serial", "pty"])
        let prefix = "apus: the serial port is at "
        let end = ContinuousClock.now + .seconds(60)
        while !guest.complaints.contains("\n"), ContinuousClock.now < end { Gate().wait(for: .milliseconds(20)) }
        let line = try #require(guest.complaints.split(separator: "\n").first)
        try #require(line.hasPrefix(prefix), "\(line)")
        let terminal = try OwnedDescriptor(opening: String(line.dropFirst(prefix.count)), for: .reading)
        let lines = SerialLines()
        while lines.guestLines.count < 3, ContinuousClock.now < end {
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = try buffer.withUnsafeMutableBytes { try terminal.read(into: $0) }
            for byte in buffer.prefix(count) { lines.append(byte) }
        }
        #expect(lines.waitForReport(for: .zero)?.isClean == true, "\(lines.all)")
    }

    @Test func `64 virtual CPUs run`() throws {
        var parameters = try livelyParameters(cpuCount: 64, seconds: 3)
        parameters.checkRate = .mebibytesPerSecond(20)
        parameters.dirtyRate = .mebibytesPerSecond(5)
        parameters.ending = .powerOff
        let guest = try GuestProcess(program: apusProgram, arguments: options(parameters, memory: 64))
        let start = try #require(guest.lines.waitForStart(for: .seconds(120)), "\(guest.lines.all) \(guest.complaints)")
        #expect(start.cpuCount == 64)
        #expect(try guest.waitForEnd(for: .seconds(120)) == .exited(status: 0))
        #expect(guest.lines.waitForEnd()?.isClean == true, "\(guest.lines.all) \(guest.complaints)")
    }

    @Test func `a file that takes no more bytes does not end the guest`() throws {
        var parameters = try livelyParameters(seconds: 2)
        parameters.ending = .powerOff
        let guest = try GuestProcess(
            program: "sh",
            arguments: ["-c", #"ulimit -f 0; exec "$0" "$@""#, apusProgram] + options(parameters)
                + ["--serial", folder.path + "/log"])
        #expect(try guest.waitForEnd(for: .seconds(60)) == .exited(status: 0), "\(guest.complaints)")
        #expect(FileSystem.text(of: folder.path + "/log") == "")
    }

    @Test func `every field of every device of a stream is named`() throws {
        let (socket, stream) = (folder.path + "/qmp", folder.path + "/stream")
        let guest = try GuestProcess(
            program: apusProgram,
            arguments: options(try livelyParameters(cpuCount: 2)) + [
                "--disk", folder.path + "/disk", "--console", "none,ports=4", "--balloon", "--free-page-hints", "--rtc",
                "--qmp", "unix:\(socket)",
            ])
        let monitor = try MonitorLine(path: socket, within: .seconds(60))
        #expect(try monitor.execute("query-balloon")["actual"] as? Int == 32 << 20)
        try #require(guest.lines.waitForReport() != nil, "\(guest.lines.all) \(guest.complaints)")
        try monitor.execute("migrate", #"{"uri": "file:\#(stream)"}"#)
        #expect(try monitor.waitForMigration()["status"] as? String == "completed")

        let shown = try GuestProcess(program: apusProgram, arguments: ["stream", "show", "--json", stream])
        #expect(try shown.waitForEnd(for: .seconds(60)) == .exited(status: 0))
        let text = try #require(shown.lines.wait(for: .seconds(10)) { $0.isEmpty ? nil : $0.joined() })
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(object["description-problem"] is NSNull && object["failure"] is NSNull)
        let devices = try #require(object["devices"] as? [[String: Any]])
        let sections = try #require(object["sections"] as? [[String: Any]]).compactMap { $0["name"] as? String }
        #expect(devices.compactMap { $0["name"] as? String } == sections.filter { $0 != "ram" })
        for device in devices {
            let name = device["name"] as? String ?? ""
            #expect(device["problem"] is NSNull && (device["fields"] as? [String: Any])?.isEmpty == false, "\(name)")
        }
        #expect(sections.contains("mc146818rtc") && sections.contains { $0.hasSuffix("/virtio-balloon") })
    }
}
