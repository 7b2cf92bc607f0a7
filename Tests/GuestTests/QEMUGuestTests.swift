import BuiltInGuest
import Foundation
import GuestSupport
import LinuxSystem
import Testing

private let noQEMU = HostGround.obstacle(to: .builtInGuestInQEMU)
private let noKVM = HostGround.obstacle(to: .builtInGuest)
private let noLinux = HostGround.obstacle(to: .linuxGuest)

/// Guests in QEMU, one after the other: each takes whole CPUs.
@Suite("Guests in QEMU", .serialized, .enabled(if: noQEMU == nil, Comment(rawValue: noQEMU ?? "")))
struct QEMUGuestTests {
    private func parameters(cpuCount: Int) -> BuiltInGuestParameters {
        var parameters = BuiltInGuestParameters()
        parameters.regionMebibytes = 16
        parameters.cpuCount = cpuCount
        parameters.seconds = 3
        parameters.period = 500
        return parameters
    }

    private func expectCleanRun(_ guest: QEMUGuest) throws {
        let end = try #require(guest.lines.waitForEnd(), "\(guest.lines.all) \(guest.process.complaints)")
        #expect(end.isClean)
        #expect(end.dirtiedPageCount > 100 && end.checkedPageCount > 1000)
        #expect(end.timerTickCount > 50 && end.apicTickCount > 25)
        #expect(try guest.process.waitForEnd(for: .seconds(20)) == .exited(status: 0))
    }

    @Test(
        .enabled(if: noKVM == nil, Comment(rawValue: noKVM ?? "")), arguments: [1, 2])
    func `the built-in guest runs clean on this host's KVM`(cpuCount: Int) throws {
        try expectCleanRun(try QEMUGuest(parameters(cpuCount: cpuCount), accelerator: .kvm))
    }

    @Test(arguments: [1, 2]) func `the built-in guest runs clean on QEMU's software CPU`(cpuCount: Int) throws {
        try expectCleanRun(try QEMUGuest(parameters(cpuCount: cpuCount), accelerator: .tcg))
    }

    @Test func `the built-in guest powers a machine with ACPI off`() throws {
        var parameters = parameters(cpuCount: 1)
        parameters.seconds = 1
        parameters.ending = .powerOff
        // With a reboot allowed only power-off ends QEMU.
        let guest = try QEMUGuest(parameters, acpi: true, arguments: ["-action", "reboot=reset"])
        try #require(guest.lines.waitForEnd() != nil, "\(guest.lines.all) \(guest.process.complaints)")
        #expect(try guest.process.waitForEnd(for: .seconds(20)) == .exited(status: 0))
        #expect(guest.lines.guestLines.count { if case .start = $0 { true } else { false } } == 1)
    }

    @Test func `a guest that is stopped leaves no process`() throws {
        let guest = try QEMUGuest(parameters(cpuCount: 1))
        try #require(guest.lines.waitForStart() != nil, "\(guest.lines.all) \(guest.process.complaints)")
        let path = "/proc/\(guest.process.processID)"
        #expect(FileSystem.exists(path))
        guest.stop()
        #expect(!FileSystem.exists(path))
    }

    /// Moves a guest of two virtual CPUs, dirtying 40 MiB/s, from one QEMU on this host to another.
    @Test(
        .enabled(if: noKVM == nil, Comment(rawValue: noKVM ?? "")), arguments: [false, true])
    func `the built-in guest moves between two QEMUs with nothing lost`(isPostcopy: Bool) throws {
        var parameters = parameters(cpuCount: 2)
        parameters.regionMebibytes = 32
        parameters.dirtyRate = .mebibytesPerSecond(40)
        parameters.pattern = .random
        parameters.seconds = nil
        // What a QEMU carries on every kind of KVM.
        parameters.vectors = .sse
        let folder = try TemporaryFolder()
        let source = try QEMUGuest(parameters, arguments: ["-qmp", "unix:\(folder.path)/a,server=on,wait=off"])
        let destination = try QEMUGuest(
            parameters, arguments: ["-qmp", "unix:\(folder.path)/b,server=on,wait=off", "-incoming", "defer"])
        let monitors = (
            source: try MonitorLine(path: "\(folder.path)/a"), destination: try MonitorLine(path: "\(folder.path)/b")
        )
        let last = try #require(source.lines.waitForReport(), "\(source.lines.all) \(source.process.complaints)")
        if isPostcopy {
            let capabilities = #"{"capabilities": [{"capability": "postcopy-ram", "state": true}]}"#
            try monitors.source.execute("migrate-set-capabilities", capabilities)
            try monitors.destination.execute("migrate-set-capabilities", capabilities)
        }
        let address = #"{"uri": "unix:\#(folder.path)/m"}"#
        try monitors.destination.execute("migrate-incoming", address)
        // Slow enough that some of it is still to come when post-copy starts.
        try monitors.source.execute("migrate-set-parameters", #"{"max-bandwidth": \#(60 << 20)}"#)
        try monitors.source.execute("migrate", address)
        if isPostcopy { try monitors.source.execute("migrate-start-postcopy") }
        let state = try monitors.source.waitForMigration()
        #expect(state["status"] as? String == "completed")
        let report = destination.lines.waitForReport { $0.checkedPageCount > last.checkedPageCount + 3 * 8192 }
        let arrived = try #require(report, "\(destination.lines.all) \(destination.process.complaints)")
        #expect(arrived.isClean)
        #expect(arrived.timerTickCount > last.timerTickCount && arrived.apicTickCount > last.apicTickCount)
        #expect(destination.lines.waitForStart(for: .zero) == nil, "it went on and did not boot again")
    }

    @Test(
        .enabled(if: noLinux == nil, Comment(rawValue: noLinux ?? "")), .timeLimit(.minutes(10)))
    func `the Linux guest runs clean, here or in the lab`() throws {
        let guest = try LinuxGuest()
        let first = guest.waitForReport(for: .seconds(240))
        let report = try #require(first, "\(guest.lines.all.suffix(20)) \(guest.process.complaints)")
        let later = guest.waitForReport(for: .seconds(60)) { $0.checkedPageCount > report.checkedPageCount }
        guest.stop()
        #expect(later?.badPageCount == 0)
        #expect(later?.badRegisterCount == 0)
    }
}

/// A folder of its own, gone with this.
private final class TemporaryFolder {
    let path = NSTemporaryDirectory() + "/apus-\(UUID().uuidString.prefix(8))"
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
}
