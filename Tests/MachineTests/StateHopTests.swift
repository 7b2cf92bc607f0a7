import BuiltInGuest
import Foundation
import GuestSupport
import LinuxSystem
import Testing

private let noQEMU = HostGround.obstacle(to: .builtInGuestInQEMU)

/// The `apus` that was built with these tests.
let apusProgram: String = {
    let tests =
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    return URL(fileURLWithPath: tests).deletingLastPathComponent().appending(path: "apus").path
}()

/// A running guest hops between two different monitors.
@Suite(
    "Hops between monitors", .serialized, .enabled(if: hasKVM, "/dev/kvm cannot be opened"),
    .enabled(if: noQEMU == nil, Comment(rawValue: noQEMU ?? "")))
struct StateHopTests {
    @Test(arguments: [1, 2]) func `a guest goes from QEMU to Apus and on to QEMU with nothing lost`(cpuCount: Int)
        throws
    {
        let folder = try TemporaryFolder()
        let disk = folder.path + "/disk"
        try Data(count: 1 << 20).write(to: URL(fileURLWithPath: disk))
        var parameters = try livelyParameters(cpuCount: cpuCount)
        parameters.dirtyRate = .mebibytesPerSecond(20)
        parameters.pattern = .random
        // What a QEMU carries on every kind of KVM.
        parameters.vectors = .sse
        let devices = [
            "-cpu", "host,arch-capabilities=off,pmu=off", "-machine", "ioapic2=off", "-global",
            "virtio-mmio.force-legacy=false", "-drive", "file=\(disk),if=none,id=disk,format=raw",
            "-device", "virtio-blk-device,drive=disk", "-device", "virtio-rng-device",
        ]
        func qemu(_ name: String, _ arguments: [String]) throws -> QEMUGuest {
            try QEMUGuest(
                parameters, accelerator: .kvm, acpi: true,
                arguments: devices + ["-qmp", "unix:\(folder.path)/\(name),server=on,wait=off"] + arguments)
        }
        func wait(for guest: SerialLines, after last: BuiltInGuestLine.Report?, _ complaints: @autoclosure () -> String)
            throws -> BuiltInGuestLine.Report
        {
            // Work, both timers and the time of day go on, and every page is as the guest left it.
            let report = try #require(
                guest.waitForReport {
                    $0.checkedPageCount > (last?.checkedPageCount ?? 0) + 4096
                        && $0.timerTickCount > (last?.timerTickCount ?? 0) + 5
                        && $0.apicTickCount > (last?.apicTickCount ?? 0)
                }, "\(guest.all) \(complaints())")
            #expect(report.isClean && report.milliseconds > (last?.milliseconds ?? 0))
            return report
        }

        let first = try qemu("a", [])
        let apus = try GuestProcess(
            program: apusProgram,
            arguments: [
                "run", "--memory", "32M", "--cpus", "\(cpuCount)", "--disk", disk, "--qmp", "unix:\(folder.path)/b",
                "--incoming", "unix:\(folder.path)/b.stream",
            ])
        let second = try qemu("c", ["-incoming", "unix:\(folder.path)/c.stream"])
        var monitors: [MonitorLine] = []
        for name in ["a", "b"] { monitors.append(try MonitorLine(path: "\(folder.path)/\(name)")) }
        try monitors[1].waitUntilListening()

        var last = try wait(for: first.lines, after: nil, first.process.complaints)
        try monitors[0].execute("migrate", #"{"uri": "unix:\#(folder.path)/b.stream"}"#)
        #expect(try monitors[0].waitForMigration()["status"] as? String == "completed")
        last = try wait(for: apus.lines, after: last, apus.complaints)
        try monitors[1].execute("migrate", #"{"uri": "unix:\#(folder.path)/c.stream"}"#)
        #expect(try monitors[1].waitForMigration()["status"] as? String == "completed")
        _ = try wait(for: second.lines, after: last, second.process.complaints)
    }
}

/// A folder of its own, gone with this.
final class TemporaryFolder {
    let path = NSTemporaryDirectory() + "/apus-\(UUID().uuidString.prefix(8))"
    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
    deinit { try? FileManager.default.removeItem(atPath: path) }
}
