import Devices
import LinuxSystem
import Machine
import Monitor

/// What the options of `apus run` name, opened.
final class Hardware {
    let configuration: MachineConfiguration
    let disks: [BlockDeviceInformation]
    private let channel: DescriptorChannel?

    init(_ run: Run) throws {
        var devices: [any VirtioDevice] = []
        var disks: [BlockDeviceInformation] = []
        for (index, option) in run.disk.enumerated() {
            let isReadOnly = option.hasSuffix(",readonly")
            let path = isReadOnly ? String(option.dropLast(9)) : option
            let disk = try RawDisk(path: path, isReadOnly: isReadOnly)
            devices.append(BlockDevice(backend: disk))
            disks.append(
                BlockDeviceInformation(
                    device: "virtio\(index)", qdev: "/machine/peripheral-anon/device[\(index)]/virtio-backend",
                    path: path, isReadOnly: isReadOnly, virtualSize: UInt64(disk.byteCount)))
        }
        for (index, option) in run.net.enumerated() {
            let network = try NetworkOption(option, index: index)
            devices.append(
                NetworkDevice(backend: TapBackend(try TapDescriptor(name: network.tap)), mac: network.mac))
        }
        devices.append(EntropyDevice())
        channel = try Self.openSerial(run.serial)
        var configuration = MachineConfiguration(
            ramByteCount: run.memory.byteCount, memoryKind: run.memory.kind, cpuCount: run.cpus, devices: devices)
        configuration.dirtyRingCapacity = run.dirtyRing
        if let channel { configuration.serial = channel }
        if let kernel = run.kernel {
            configuration.boot = BootSource(
                kernelPath: kernel, initialRAMDiskPath: run.initrd, commandLine: run.cmdline)
        }
        self.configuration = configuration
        self.disks = disks
    }

    /// Writes out what the guest still said.
    func end() { channel?.end() }

    private static func openSerial(_ place: String) throws -> DescriptorChannel? {
        if place == "none" { return nil }
        if place == "stdio" {
            return try DescriptorChannel(
                name: "serial", input: OwnedDescriptor(duplicating: 0), output: OwnedDescriptor(duplicating: 1))
        }
        if place.hasPrefix("unix:") {
            let listener = try ListeningSocket(on: .unix(path: String(place.dropFirst(5))))
            let socket = try listener.accept()
            return try DescriptorChannel(
                name: "serial", input: try socket.descriptor.duplicate(), output: try socket.descriptor.duplicate())
        }
        return try DescriptorChannel(
            name: "serial", input: nil, output: try OwnedDescriptor(opening: place, for: .replacing))
    }
}

/// `tap=NAME[,mac=ADDRESS]`
private struct NetworkOption {
    var tap = ""
    var mac: [UInt8]

    init(_ text: String, index: Int) throws {
        mac = [0x52, 0x54, 0, 0x12, 0x34, UInt8(0x56 + index)]
        for part in text.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1).map(String.init)
            switch (pair.first, pair.count) {
            case ("tap", 2): tap = pair[1]
            case ("mac", 2):
                let bytes = pair[1].split(separator: ":").compactMap { UInt8($0, radix: 16) }
                guard bytes.count == 6, pair[1].split(separator: ":").count == 6 else {
                    throw Failure("--net \(text): '\(pair[1])' is no MAC address.")
                }
                mac = bytes
            default: throw Failure("--net \(text): '\(part)' is not known; tap=NAME[,mac=ADDRESS].")
            }
        }
        if tap.isEmpty { throw Failure("--net \(text) names no tap.") }
    }
}
