import BuiltInGuest
import Devices
import Glibc
import GuestMemory
import GuestSupport
import KVM
import LinuxSystem
import Machine
import MigrationStream
import Synchronization

let hasKVM = (try? KVMSystem()) != nil

/// A serial port's other end that collects lines.
final class LineChannel: ByteChannel {
    let lines = SerialLines()
    func send(_ bytes: [UInt8]) { for byte in bytes { lines.append(byte) } }
    func take(_ count: Int) -> [UInt8] { [] }
    func onInput(_ handler: @escaping @Sendable () -> Void) {}
}

/// A file that is removed with its owner.
final class TemporaryFile {
    let path: String

    init(_ bytes: [UInt8]) throws {
        path = "/tmp/apus-test-\(getpid())-\(monotonicNanoseconds)"
        let file = try OwnedDescriptor(opening: path, for: .replacing)
        try bytes.withUnsafeBytes { try file.write(all: $0) }
    }

    deinit { unlink(path) }
}

/// Waits for what a guest asks of its machine.
final class EventCollector: MachineObserver {
    private struct State {
        var events: [SystemEvent] = []
        var failures: [VirtualCPUFailure] = []
    }
    private let state = Mutex(State())
    private let gate = Gate()

    func machine(_ machine: Machine, guestAsksFor event: SystemEvent) {
        state.withLock { $0.events.append(event) }
        gate.open()
    }

    func machine(_ machine: Machine, failed failure: VirtualCPUFailure) {
        state.withLock { $0.failures.append(failure) }
        gate.open()
    }

    /// The first event, nil if none comes within a minute or a virtual CPU fails.
    func waitForEvent() -> SystemEvent? {
        gate.wait(for: .seconds(60))
        return state.withLock { $0.failures.isEmpty ? $0.events.first : nil }
    }

    var failures: [VirtualCPUFailure] { state.withLock { $0.failures } }
}

/// A machine with the built-in guest and a disk, entropy, console and balloon that it does not use.
final class GuestMachine {
    let machine: Machine
    let channel = LineChannel()
    let events = EventCollector()
    private let kernel: TemporaryFile?

    var lines: SerialLines { channel.lines }

    /// - Parameter parameters: nil for a machine that waits for a guest from elsewhere.
    init(
        cpuCount: Int = 1, parameters: BuiltInGuestParameters?, devices: [any VirtioDevice] = [],
        dirtyRingCapacity: Int? = nil,
        configuration: MachineConfiguration = MachineConfiguration(ramByteCount: 32 << 20)
    ) throws {
        var kernel: TemporaryFile?
        var boot: BootSource?
        if let parameters {
            let file = try TemporaryFile(BuiltInGuestImage.bytes)
            boot = BootSource(kernelPath: file.path, commandLine: parameters.commandLine)
            kernel = file
        }
        self.kernel = kernel
        var configuration = configuration
        configuration.cpuCount = cpuCount
        configuration.boot = boot
        configuration.serial = channel
        configuration.devices = devices
        configuration.dirtyRingCapacity = dirtyRingCapacity
        machine = try Machine(configuration)
        machine.setObserver(events)
    }

    deinit {
        try? machine.pause()
        machine.end()
    }

    /// Copies memory and state of a paused machine into this one.
    func take(_ other: GuestMachine, runState: String = "running") throws {
        machine.ram.bytes(at: 0, count: machine.ram.byteCount).copyMemory(
            from: UnsafeRawBufferPointer(other.machine.ram.bytes(at: 0, count: machine.ram.byteCount)))
        for section in try other.machine.saveSections(runState: runState) {
            try machine.loadSection(
                name: section.name, instance: section.instance,
                ReceivedState(version: section.state.version, bytes: section.state.bytes))
        }
        try machine.finishLoadingSections()
    }
}

/// Parameters of a guest that reports five times a second; its clock's rate is told, not measured on a busy host.
func livelyParameters(cpuCount: Int = 1, seconds: Int? = nil) throws -> BuiltInGuestParameters {
    var parameters = BuiltInGuestParameters()
    parameters.regionMebibytes = 16
    parameters.checkRate = .mebibytesPerSecond(400)
    parameters.period = 200
    parameters.cpuCount = cpuCount
    parameters.seconds = seconds
    let machine = try KVMSystem().makeVirtualMachine()
    try machine.makeInterruptController()
    parameters.tscFrequency = try machine.makeVirtualCPU(index: 0).getTSCFrequency()
    return parameters
}
