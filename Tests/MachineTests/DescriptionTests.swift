import BuiltInGuest
import Devices
import Foundation
import GuestMemory
import GuestSupport
import LinuxSystem
import Machine
import Migration
import MigrationStream
import Testing

private let noQEMU = HostGround.obstacle(to: .builtInGuestInQEMU)

/// The description of every section, field by field, beside that of a real QEMU with the same devices and guest.
@Suite(
    "State beside QEMU's", .serialized, .enabled(if: hasKVM, "/dev/kvm cannot be opened"),
    .enabled(if: noQEMU == nil, Comment(rawValue: noQEMU ?? "")))
struct DescriptionTests {
    /// A machine with every device, as both are told to make it.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var cpuCount = 1
        var hasClock = false
        var hasHints = false
        var portCount = 1
        /// A QEMU on its software CPU has another CPU, and no part of KVM's.
        var accelerator = QEMUGuest.Accelerator.kvm

        /// Differences that there may be, with the reason for each.
        var allowed: [(difference: String, reason: String)] {
            guard accelerator == .tcg else { return [] }
            return [
                ("kvmclock 0: only here", "QEMU's software CPU has no KVM clock"),
                ("cpu/tsc_khz: only here", "KVM counts with the host's frequency, the software CPU with its own"),
                ("cpu/poll_control_msr: only in QEMU", "its software CPU sends it with KVM's default"),
                ("cpu/msr_ia32_misc_enable: only in QEMU", "its software CPU begins with another value than KVM"),
            ]
        }
    }

    static let cases = [
        Case(testDescription: "1 CPU"), Case(testDescription: "2 CPUs with a clock", cpuCount: 2, hasClock: true),
        Case(testDescription: "hints and 31 console ports", hasHints: true, portCount: 31),
        Case(testDescription: "QEMU's software CPU", cpuCount: 2, hasClock: true, accelerator: .tcg),
    ]

    @Test(arguments: cases) func `sections, fields and sizes are QEMU's`(_ variant: Case) throws {
        let here = try descriptionHere(variant)
        let there = try descriptionOfQEMU(variant)
        let names = { (description: VMDescription) in description.devices.map { "\($0.name) \($0.instanceID)" } }
        let shared = Set(names(here)).intersection(names(there))
        #expect(names(here).filter(shared.contains) == names(there).filter(shared.contains), "the order of sections")

        var found = Set(names(here)).subtracting(shared).map { "\($0): only here" }
        found += Set(names(there)).subtracting(shared).map { "\($0): only in QEMU" }
        for device in here.devices where shared.contains("\(device.name) \(device.instanceID)") {
            let other = try #require(there.device(named: device.name, instance: device.instanceID))
            found += differences(device.structure, other.structure, in: device.name)
        }
        let allowed = variant.allowed.map(\.difference)
        #expect(found.filter { difference in !allowed.contains { difference.hasSuffix($0) } } == [])
        // An entry that matches nothing hides what it was made for.
        #expect(allowed.filter { entry in !found.contains { $0.hasSuffix(entry) } } == [])
    }

    private func parameters(_ variant: Case) throws -> BuiltInGuestParameters {
        var parameters = try livelyParameters(cpuCount: variant.cpuCount)
        parameters.vectors = .sse
        if variant.accelerator == .tcg { parameters.tscFrequency = nil }
        return parameters
    }

    private func descriptionHere(_ variant: Case) throws -> VMDescription {
        var configuration = MachineConfiguration(ramByteCount: 32 << 20)
        configuration.hasClock = variant.hasClock
        let guest = try GuestMachine(
            cpuCount: variant.cpuCount, parameters: parameters(variant),
            devices: [
                BlockDevice(backend: MemoryDisk(sectorCount: 2048)),
                NetworkDevice(backend: try SilentNetwork(), mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56]),
                EntropyDevice(), ConsoleDevice(channel: SilentChannel(), maximumPortCount: variant.portCount),
                BalloonDevice(ramByteCount: 32 << 20, hasHints: variant.hasHints),
            ], configuration: configuration)
        try guest.machine.resume()
        try #require(guest.lines.waitForReport() != nil, "\(guest.lines.all) \(guest.events.failures)")
        try guest.machine.pause()
        var sections: [DeviceSection] = []
        for part in DevicePart.allCases {
            try guest.machine.saveDeviceState(part, wasRunning: true) { sections.append($0) }
        }
        return try VMDescription(utf8: Array(description(of: sections).utf8))
    }

    private func descriptionOfQEMU(_ variant: Case) throws -> VMDescription {
        let disk = try TemporaryFile([UInt8](repeating: 0, count: 1 << 20))
        let stream = try TemporaryFile([])
        let monitor = "/tmp/apus-test-\(getpid())-\(monotonicNanoseconds).qmp"
        defer { unlink(monitor) }
        let hints = variant.hasHints ? ",free-page-hint=on,iothread=io" : ""
        let cpu = variant.accelerator == .kvm ? ["-cpu", "host,arch-capabilities=off,pmu=off"] : []
        let guest = try QEMUGuest(
            parameters(variant), accelerator: variant.accelerator, acpi: true,
            arguments: cpu + [
                "-machine", "ioapic2=off,rtc=\(variant.hasClock ? "on" : "off")",
                "-global", "virtio-mmio.force-legacy=false", "-object", "iothread,id=io",
                "-drive", "file=\(disk.path),if=none,id=disk,format=raw", "-device", "virtio-blk-device,drive=disk",
                "-netdev", "hubport,id=net,hubid=0", "-device", "virtio-net-device,netdev=net",
                "-device", "virtio-rng-device", "-chardev", "null,id=console",
                "-device", "virtio-serial-device,max_ports=\(variant.portCount)", "-device",
                "virtconsole,chardev=console", "-device", "virtio-balloon-device\(hints)",
                "-qmp", "unix:\(monitor),server=on,wait=off",
            ])
        defer { guest.stop() }
        try #require(guest.lines.waitForReport() != nil, "\(guest.lines.all) \(guest.process.complaints)")
        let line = try MonitorLine(path: monitor)
        try line.execute("migrate", #"{"uri": "exec:cat > \#(stream.path)"}"#)
        #expect(try line.waitForMigration()["status"] as? String == "completed")
        return try VMDescription(utf8: try descriptionText(at: stream.path))
    }

    /// What stands at the end of a stream: 6, its length (u32, big-endian), and the text.
    private func descriptionText(at path: String) throws -> [UInt8] {
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        let start = bytes.indices.dropLast(5).last { index in
            bytes[index] == 6 && bytes[index + 5] == UInt8(ascii: "{")
                && bytes[index + 1..<index + 5].reduce(0) { $0 << 8 | Int($1) } == bytes.count - index - 5
        }
        return Array(bytes[(try #require(start) + 5)...])
    }

    /// Everything in which two descriptions differ: "cpu.env.eip: uint64, 8 bytes here, uint32, 4 bytes in QEMU".
    private func differences(_ here: StructureDescription, _ there: StructureDescription, in path: String) -> [String] {
        var found: [String] = []
        if here.name != there.name || here.version != there.version {
            found.append("\(path): \(summary(here)) here, \(summary(there)) in QEMU")
        }
        let names = { (structure: StructureDescription) in structure.fields.map { "\($0.name)[\($0.index ?? 0)]" } }
        if names(here) != names(there) {
            let difference = names(here).difference(from: names(there))
            found.append("\(path): fields \(difference)")
        } else {
            for (one, other) in zip(here.fields, there.fields) {
                let place = "\(path).\(one.name)"
                if summary(one) != summary(other) {
                    found.append("\(place): \(summary(one)) here, \(summary(other)) in QEMU")
                }
                let none = StructureDescription(name: nil, version: nil, fields: [])
                found += differences(one.structure ?? none, other.structure ?? none, in: place)
            }
        }
        let sections = (here.subsections.map { $0.name ?? "" }, there.subsections.map { $0.name ?? "" })
        found += sections.0.filter { !sections.1.contains($0) }.map { "\(path)/\($0): only here" }
        found += sections.1.filter { !sections.0.contains($0) }.map { "\(path)/\($0): only in QEMU" }
        let common = sections.0.filter(sections.1.contains)
        if common != sections.1.filter(sections.0.contains) { found.append("\(path): the order of subsections") }
        for one in here.subsections {
            guard let other = there.subsections.first(where: { $0.name == one.name }) else { continue }
            found += differences(one, other, in: "\(path)/\(one.name ?? "")")
        }
        return found
    }

    private func summary(_ field: FieldDescription) -> String {
        "\(field.type), \(field.byteCount) bytes, \(field.elementCount ?? 1) elements"
    }

    private func summary(_ structure: StructureDescription) -> String {
        "\(structure.name ?? "nothing") version \(structure.version ?? 0)"
    }
}

/// A network that nobody is on.
private final class SilentNetwork: NetworkBackend {
    private let event: EventDescriptor
    let hasOffloads = false
    init() throws { event = try EventDescriptor() }
    var descriptorNumber: Int32 { event.number }
    func readFrame(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int? { nil }
    func writeFrame(_ slices: [GuestMemorySlice]) throws(SystemError) -> Bool { true }
    func writeFrame(_ bytes: [UInt8]) throws(SystemError) -> Bool { true }
    func setOffloads(_ offloads: TapDescriptor.Offloads) throws(SystemError) {}
}
