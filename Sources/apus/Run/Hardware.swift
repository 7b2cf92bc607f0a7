import Devices
import LinuxSystem
import Machine
import MigrationStream
import Monitor

/// What the options of `apus run` name, opened.
final class Hardware {
    let configuration: MachineConfiguration
    let disks: DiskShelf
    private var channels: [DescriptorChannel] = []
    private var terminals: [TerminalHolder] = []

    /// Opens everything. Whoever must be waited for, a peer of a socket, comes last.
    init(_ run: Run) throws {
        var devices: [any VirtioDevice] = []
        // The disks of a guest that is to arrive are the source's until it does.
        let disks = try DiskShelf(run.disk, takesLocks: run.incoming == nil)
        devices += disks.makeDevices()
        for (index, option) in run.net.enumerated() {
            let mac = option.mac ?? [0x52, 0x54, 0, 0x12, 0x34, UInt8(0x56 + index)]
            devices.append(NetworkDevice(backend: try Self.openTap(option.tap), mac: mac))
        }
        if run.rng { devices.append(EntropyDevice()) }
        var configuration = MachineConfiguration(
            ramByteCount: run.memory.byteCount, memoryKind: run.memory.kind, cpuCount: run.cpus)
        configuration.uuid = run.uuid.flatMap { MachineUUID($0) } ?? .none
        configuration.dirtyRingCapacity = run.dirtyRing
        configuration.initialXCR0 = run.xcr0
        configuration.hasClock = run.rtc
        configuration.failure = run.failDevice.flatMap { FailureInjection($0) }
        configuration.awaitsGuest = run.incoming != nil
        if let kernel = run.kernel {
            configuration.boot = BootSource(
                kernelPath: kernel, initialRAMDiskPath: run.initrd, commandLine: run.cmdline)
        }
        self.disks = disks
        var lines = LineOpener()
        if let channel = try lines.open(run.serial, "serial", "the serial port") { configuration.serial = channel }
        if let console = run.console {
            let channel: any ByteChannel = try lines.open(console.place, "console", "the console") ?? SilentChannel()
            devices.append(ConsoleDevice(channel: channel, maximumPortCount: console.portCount))
        }
        if run.balloon {
            devices.append(
                BalloonDevice(
                    ramByteCount: run.memory.byteCount, hasHints: run.freePageHints,
                    hasReporting: run.freePageReporting))
        }
        configuration.devices = devices
        self.configuration = configuration
        channels = lines.channels
        terminals = lines.terminals
    }

    /// Writes out what the guest still said.
    func end() { for channel in channels { channel.end() } }

    private static func openTap(_ name: String) throws -> TapBackend {
        do { return TapBackend(try TapDescriptor(name: name)) } catch {
            guard error.isMissingDevice else { throw error }
            throw Failure("--net tap=\(name): there is no such tap; `ip tuntap add dev \(name) mode tap` makes one.")
        }
    }
}

/// Keeps a terminal open that a channel talks to.
private final class TerminalHolder {
    let terminal: PseudoTerminal
    init(_ terminal: consuming PseudoTerminal) { self.terminal = terminal }
}

/// Opens what serial ports and consoles lead to.
private struct LineOpener {
    var channels: [DescriptorChannel] = []
    var terminals: [TerminalHolder] = []

    /// The channel to `place`, nil for none. `title` is what a person is told of.
    mutating func open(_ place: LinePlace, _ name: String, _ title: String) throws -> DescriptorChannel? {
        let channel: DescriptorChannel
        switch place {
        case .nowhere: return nil
        case .stdio:
            channel = try DescriptorChannel(
                name: name, input: OwnedDescriptor(duplicating: 0), output: OwnedDescriptor(duplicating: 1))
        case .terminal:
            let holder = TerminalHolder(try PseudoTerminal())
            say("apus: \(title) is at \(holder.terminal.path)")
            channel = try DescriptorChannel(
                name: name, input: try holder.terminal.descriptor.duplicate(),
                output: try holder.terminal.descriptor.duplicate())
            terminals.append(holder)
        case .socket(let path):
            let listener = try ListeningSocket(on: .unix(path: path))
            say("apus: \(title) waits for a connection at \(path)")
            let socket = try listener.accept()
            channel = try DescriptorChannel(
                name: name, input: try socket.descriptor.duplicate(), output: try socket.descriptor.duplicate())
        case .file(let path):
            channel = try DescriptorChannel(
                name: name, input: nil, output: try OwnedDescriptor(opening: path, for: .replacing))
        }
        channels.append(channel)
        return channel
    }
}
