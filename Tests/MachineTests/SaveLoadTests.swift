import BuiltInGuest
import Foundation
import GuestSupport
import LinuxSystem
import Testing

/// The widest vector registers of this host's processor, as the built-in guest names them.
private let widestRegisters: String = {
    let flags = FileSystem.text(of: "/proc/cpuinfo")?.split(separator: "\n").first { $0.hasPrefix("flags") } ?? ""
    let names = Set(flags.split(separator: " "))
    return names.contains("avx512f") ? "avx512" : names.contains("avx") ? "avx" : "sse"
}()

/// A guest goes on in a new process where the one before it stopped, again and again.
@Suite("Saves and loads", .serialized, .enabled(if: hasKVM, "/dev/kvm cannot be opened"))
struct SaveLoadTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func start(_ name: String, _ arguments: [String]) throws -> (GuestProcess, MonitorLine) {
        let socket = "\(folder.path)/\(name)"
        let process = try GuestProcess(
            program: apusProgram,
            arguments: ["run", "--memory", "32M", "--cpus", "2", "--qmp", "unix:\(socket)"] + arguments)
        return (process, try MonitorLine(path: socket, within: .seconds(60)))
    }

    @Test(.enabled(if: widestRegisters != "sse", "this host's processor has no wider registers than SSE's"))
    func `a guest with all vector registers in use survives twenty saves, by files and commands`() throws {
        let kernel = folder.path + "/kernel"
        try Data(BuiltInGuestImage.bytes).write(to: URL(fileURLWithPath: kernel))
        var parameters = try livelyParameters(cpuCount: 2)
        parameters.period = 100
        parameters.pattern = .random
        var (guest, monitor) = try start("0", ["--kernel", kernel, "--cmdline", parameters.commandLine])
        #expect(guest.lines.waitForStart()?.registers == widestRegisters)
        var last = try #require(guest.lines.waitForReport { $0.checkedPageCount > 4096 }, "\(guest.lines.all)")

        for number in 1...20 {
            let file = "\(folder.path)/stream"
            let isCommand = number % 4 == 0
            let wasPaused = number % 5 == 0
            if wasPaused { try monitor.execute("stop") }
            try monitor.execute("migrate", #"{"uri": "\#(isCommand ? "exec:cat >" : "file:")\#(file)"}"#)
            #expect(try monitor.waitForMigration()["status"] as? String == "completed", "save \(number)")
            try monitor.execute("quit")
            #expect(try guest.waitForEnd(for: .seconds(60)) == .exited(status: 0))
            last = lastReport(of: guest) ?? last

            (guest, monitor) = try start("\(number)", ["--incoming", "\(isCommand ? "exec:cat " : "file:")\(file)"])
            try waitForStatus(wasPaused ? "paused" : "running", monitor)
            if wasPaused { try monitor.execute("cont") }
            let report = try #require(
                guest.lines.waitForReport {
                    $0.checkedPageCount > last.checkedPageCount + 2048 && $0.timerTickCount > last.timerTickCount
                        && $0.apicTickCount > last.apicTickCount
                }, "load \(number): \(last) \(guest.lines.all) \(guest.complaints)")
            #expect(report.isClean && report.milliseconds > last.milliseconds, "load \(number): \(last), \(report)")
            #expect(guest.complaints == "")
        }
    }

    private func lastReport(of guest: GuestProcess) -> BuiltInGuestLine.Report? {
        for line in guest.lines.guestLines.reversed() { if case .report(let report) = line { return report } }
        return nil
    }

    private func waitForStatus(_ status: String, _ monitor: MonitorLine) throws {
        let end = ContinuousClock.now + .seconds(60)
        var found = ""
        while ContinuousClock.now < end {
            found = try monitor.execute("query-status")["status"] as? String ?? ""
            if found == status { return }
            Gate().wait(for: .milliseconds(10))
        }
        Issue.record("the guest is \(found), not \(status), within a minute")
    }
}
