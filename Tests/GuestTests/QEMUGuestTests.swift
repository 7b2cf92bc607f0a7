import BuiltInGuest
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
