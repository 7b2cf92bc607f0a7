public import GuestMemory
public import LinuxSystem
internal import Synchronization

/// A virtio device behind 512 bytes of registers in memory: virtio-mmio, version 2.
///
/// Every transport of the machine exists; one without a device reads as device 0. The driver brings a device up by
/// setting bits of the status register one after another:
///
///     0 -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK (served)
///     any -- writes 0 --> 0 (reset)      any -- FAILED --> not served
///     served -- the driver lies in a ring --> NEEDS_RESET, not served until reset
///
/// FEATURES_OK stays clear when the driver accepted what is not offered, or not VERSION_1.
public final class MMIOTransport: RegisterDevice {
    /// The bytes a transport takes in the address space.
    public static let byteCount: UInt64 = 0x200
    /// Where the driver writes the number of a queue that has something for the device.
    public static let notifyOffset = Register.queueNotify

    /// The bits of the status register.
    public struct Status: OptionSet, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        public static let acknowledge = Status(rawValue: 1)
        public static let driver = Status(rawValue: 2)
        public static let driverOK = Status(rawValue: 4)
        public static let featuresOK = Status(rawValue: 8)
        public static let needsReset = Status(rawValue: 64)
        public static let failed = Status(rawValue: 128)
    }

    /// What the driver writes about a queue before it makes it ready.
    struct QueueRegisters: Equatable, Sendable {
        var size: UInt16 = 0
        var isReady = false
        var descriptorTable: UInt64 = 0
        var availableRing: UInt64 = 0
        var usedRing: UInt64 = 0
    }

    struct Registers: Equatable, Sendable {
        var status: Status = []
        var deviceFeaturesSelect: UInt32 = 0
        var driverFeaturesSelect: UInt32 = 0
        var driverFeatures: UInt64 = 0
        var queueSelect: UInt32 = 0
        var queues: [QueueRegisters]
    }

    public let server: QueueServer?
    let registers: Mutex<Registers>
    private let lastFailure = Mutex<VirtioError?>(nil)

    /// A transport without a device.
    public init() {
        server = nil
        registers = Mutex(Registers(queues: []))
    }

    /// A transport with `device` behind it, which gets a thread; `end` ends it.
    public init(device: any VirtioDevice, memory: GuestAddressSpace, line: any InterruptLine) throws(SystemError) {
        let report = FailureReport()
        server = try QueueServer(device: device, memory: memory, line: line) { report.transport?.fail($0) }
        registers = Mutex(Registers(queues: device.queueSizes.map { _ in QueueRegisters() }))
        report.connect(to: self)
    }

    public var name: String { server?.device.name ?? "virtio-mmio" }
    public var device: (any VirtioDevice)? { server?.device }
    /// What made the device need a reset last, nil if nothing did.
    public var failure: VirtioError? { lastFailure.withLock { $0 } }
    public var status: Status { registers.withLock { $0.status } }

    /// Where the rings of its queues are in guest memory; none before the driver has said so.
    public var rings: [(address: GuestAddress, byteCount: Int)] {
        server?.snapshot.queues.flatMap(\.rings) ?? []
    }

    public func pause() { server?.pause() }
    public func resume() { server?.resume() }
    public func reset() { registers.withLock { resetAll(&$0) } }
    /// Ends the device's thread, for good.
    public func end() { server?.end() }

    public var stateKind: DeviceStateKind {
        server == nil ? .none(because: "a transport without a device has only constant registers") : .section
    }

    /// What the driver may accept.
    var offeredFeatures: UInt64 { (server?.device.features ?? 0) | VirtioFeature.common }

    // MARK: Registers

    public func read(at offset: UInt64, width: Int) -> UInt64 {
        if offset >= Register.configuration { return readConfiguration(at: Int(offset - 0x100), width: width) }
        guard width == 4 else { return 0 }
        guard let server else {
            switch offset {
            case Register.magic: return Register.magicValue
            case Register.version: return 2
            case Register.vendor: return Register.vendorValue
            default: return 0
            }
        }
        switch offset {
        case Register.magic: return Register.magicValue
        case Register.version: return 2
        case Register.deviceID: return UInt64(server.device.deviceID)
        case Register.vendor: return Register.vendorValue
        case Register.interruptStatus: return UInt64(server.interrupt.reasons.rawValue)
        case Register.configurationGeneration: return UInt64(server.interrupt.configurationGeneration)
        // No shared memory regions: a length of all ones.
        case Register.sharedMemoryLengthLow, Register.sharedMemoryLengthHigh: return 0xFFFF_FFFF
        case Register.sharedMemoryBaseLow, Register.sharedMemoryBaseHigh: return 0xFFFF_FFFF
        default: return registers.withLock { readDriverRegister(offset, server, $0) }
        }
    }

    private func readDriverRegister(_ offset: UInt64, _ server: QueueServer, _ registers: Registers) -> UInt64 {
        let queue = Int(registers.queueSelect)
        switch offset {
        case Register.deviceFeatures:
            switch registers.deviceFeaturesSelect {
            case 0: return offeredFeatures & 0xFFFF_FFFF
            case 1: return offeredFeatures >> 32
            default: return 0
            }
        case Register.queueSizeMaximum:
            return server.device.queueSizes.indices.contains(queue) ? UInt64(server.device.queueSizes[queue]) : 0
        case Register.queueReady:
            return registers.queues.indices.contains(queue) && registers.queues[queue].isReady ? 1 : 0
        case Register.status: return UInt64(registers.status.rawValue)
        default: return 0
        }
    }

    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        guard let server else { return }
        if offset >= Register.configuration {
            return writeConfiguration(value, at: Int(offset - 0x100), width: width)
        }
        guard width == 4 else { return }
        let word = UInt32(truncatingIfNeeded: value)
        switch offset {
        case Register.queueNotify: server.notify(Int(word & 0xFFFF))
        case Register.interruptAcknowledge:
            server.interrupt.acknowledge(VirtioInterrupt.Reason(rawValue: UInt8(truncatingIfNeeded: word)))
        default: registers.withLock { writeDriverRegister(word, at: offset, server, &$0) }
        }
    }

    private func writeDriverRegister(
        _ word: UInt32, at offset: UInt64, _ server: QueueServer, _ registers: inout Registers
    ) {
        switch offset {
        case Register.deviceFeaturesSelect: registers.deviceFeaturesSelect = word
        case Register.driverFeaturesSelect: registers.driverFeaturesSelect = word
        case Register.driverFeatures:
            guard !registers.status.contains(.featuresOK) else { return }
            switch registers.driverFeaturesSelect {
            case 0: registers.driverFeatures.setHalf(.low, word)
            case 1: registers.driverFeatures.setHalf(.high, word)
            default: break
            }
        case Register.queueSelect: registers.queueSelect = word
        case Register.status: writeStatus(Status(rawValue: UInt8(truncatingIfNeeded: word)), server, &registers)
        default:
            let queue = Int(registers.queueSelect)
            guard registers.queues.indices.contains(queue) else { return }
            if offset == Register.queueReady {
                setReady(word & 1 == 1, queue, server, &registers)
            } else {
                registers.queues[queue].write(word, at: offset)
            }
        }
    }

    // MARK: Status

    private func writeStatus(_ value: Status, _ server: QueueServer, _ registers: inout Registers) {
        if value.isEmpty { return resetAll(&registers) }
        var value = value
        if registers.status.contains(.needsReset) { value.insert(.needsReset) }
        if value.contains(.featuresOK) && !registers.status.contains(.featuresOK) {
            let features = registers.driverFeatures
            if features & ~offeredFeatures != 0 || features & VirtioFeature.version1 == 0 {
                value.remove(.featuresOK)
            }
        }
        let wasServed = registers.status.isServed
        registers.status = value
        if value.isServed && !wasServed { server.start(features: registers.driverFeatures) }
        if !value.isServed && wasServed { server.stop() }
    }

    private func setReady(_ isReady: Bool, _ queue: Int, _ server: QueueServer, _ registers: inout Registers) {
        guard isReady != registers.queues[queue].isReady else { return }
        let wanted = registers.queues[queue]
        do throws(VirtioError) {
            try server.quietly { (queues) throws(VirtioError) in
                guard isReady else {
                    queues.queues[queue].isReady = false
                    return
                }
                try queues.queues[queue].makeReady(
                    size: wanted.size, descriptorTable: GuestAddress(wanted.descriptorTable),
                    availableRing: GuestAddress(wanted.availableRing), usedRing: GuestAddress(wanted.usedRing),
                    in: queues.memory)
            }
            registers.queues[queue].isReady = isReady
        } catch { fail(error, &registers) }
    }

    private func resetAll(_ registers: inout Registers) {
        server?.reset()
        registers = Registers(queues: registers.queues.map { _ in QueueRegisters() })
    }

    /// The driver lied: it is told to reset the device, which serves nothing until then.
    private func fail(_ error: VirtioError) { registers.withLock { fail(error, &$0) } }

    private func fail(_ error: VirtioError, _ registers: inout Registers) {
        lastFailure.withLock { $0 = error }
        // A driver that reset the device meanwhile has lost the failed queue already.
        guard !registers.status.isEmpty else { return }
        server?.stop()
        registers.status.insert(.needsReset)
        server?.interrupt.raise(.configuration)
    }

    // MARK: Configuration space

    private func readConfiguration(at offset: Int, width: Int) -> UInt64 {
        guard let server else { return 0 }
        let bytes = server.device.configuration
        guard offset <= bytes.count - width else { return .max >> UInt64(64 - 8 * width) }
        return (0..<width).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }

    private func writeConfiguration(_ value: UInt64, at offset: Int, width: Int) {
        guard let device = server?.device, width <= 4, offset <= device.configuration.count - width else { return }
        device.writeConfiguration((0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }, at: offset)
    }

    /// Lets the server, made before the transport, reach it.
    private final class FailureReport: Sendable {
        private struct Weak: Sendable { weak let transport: MMIOTransport? }
        private let weak = Mutex(Weak(transport: nil))
        var transport: MMIOTransport? { weak.withLock { $0.transport } }
        func connect(to transport: MMIOTransport) { weak.withLock { $0 = Weak(transport: transport) } }
    }
}

extension MMIOTransport.Status {
    /// Whether the device takes requests in this state.
    var isServed: Bool {
        contains([.featuresOK, .driverOK]) && isDisjoint(with: [.needsReset, .failed])
    }
}
