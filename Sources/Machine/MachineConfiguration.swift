public import Devices
public import LinuxSystem
public import MigrationStream

/// What a machine is made of. Everything in it is the same at the source and at the destination of a migration.
public struct MachineConfiguration: Sendable {
    public static let cpuCounts = 1...64
    /// The machine type of the stream's configuration section.
    public static let machineName = "microvm"
    /// Entries: KVM keeps more than 500 of a ring for itself.
    public static let smallestDirtyRing = 1024

    /// A multiple of 2 MiB.
    public var ramByteCount: Int
    public var memoryKind: MemoryMapping.Kind
    public var cpuCount: Int
    /// Entries of each virtual CPU's dirty ring, a power of two; nil for the kernel's dirty log.
    public var dirtyRingCapacity: Int?
    /// XCR0 at the guest's first instruction. Anything but 1 is for a KVM that does not see the guest set it, as one in
    /// QEMU's software emulation of AMD-V: it takes what it set last back at each exit, and with it the guest's AVX.
    public var initialXCR0: UInt64 = 1
    public var uuid: MachineUUID
    /// What the guest starts with; nil for a machine that waits for a migration.
    public var boot: BootSource?
    /// Whether a guest is to arrive from elsewhere before anything runs; `boot` is then what a reset starts.
    public var awaitsGuest = false
    /// A device that is to fail.
    public var failure: FailureInjection?
    /// The host's end of the serial port.
    public var serial: any ByteChannel
    /// Whether there is a real-time clock. QEMU's microvm has one with software emulation, and none with KVM.
    public var hasClock = false
    /// The virtio devices in the order of QEMU's command line: the first takes the highest transport.
    public var devices: [any VirtioDevice]

    public init(
        ramByteCount: Int, memoryKind: MemoryMapping.Kind = .anonymous, cpuCount: Int = 1, uuid: MachineUUID = .none,
        boot: BootSource? = nil, serial: any ByteChannel = SilentChannel(), devices: [any VirtioDevice] = []
    ) {
        self.ramByteCount = ramByteCount
        self.memoryKind = memoryKind
        self.cpuCount = cpuCount
        self.uuid = uuid
        self.boot = boot
        self.serial = serial
        self.devices = devices
    }
}

/// Why a machine cannot be made.
public enum MachineError: Error, CustomStringConvertible {
    case cpuCount(Int)
    case memorySize(Int)
    case tooManyDevices(Int)
    /// What /dev/kvm said.
    case noKVM(SystemError)
    case missingCapability(String)
    /// A guest that came from elsewhere resets itself, and nobody said what it starts with.
    case nothingToBoot
    /// A dirty ring of this many entries; `largest` is what the kernel has.
    case dirtyRing(capacity: Int, largest: Int)
    /// Vector registers that this host's KVM does not give to guests.
    case initialXCR0(UInt64, SystemError)
    case noMemory(byteCount: Int, SystemError)
    /// The host's pool of huge pages is too small.
    case noHugePages(pageSize: Int, needed: Int, free: Int)

    public var description: String {
        switch self {
        case .cpuCount(let count):
            let allowed = MachineConfiguration.cpuCounts
            return "\(count) virtual CPUs are not possible: \(allowed.lowerBound) to \(allowed.upperBound) are."
        case .memorySize(let count): return "\(count) bytes of memory are not a multiple of 2 MiB."
        case .tooManyDevices(let count):
            return "\(count) virtio devices do not fit: the machine has \(MachineLayout.transportCount) transports."
        case .noKVM(let error):
            return "KVM cannot be used (\(error)). `apus doctor` says what to do."
        case .missingCapability(let name): return "This kernel's KVM lacks \(name), which Apus needs."
        case .nothingToBoot:
            return "The guest cannot start again here: it came from elsewhere, and no --kernel was given for it."
        case .dirtyRing(let capacity, 0):
            return "A dirty ring of \(capacity) entries is not possible: this kernel's KVM has no dirty rings."
        case .dirtyRing(let capacity, let largest):
            let smallest = MachineConfiguration.smallestDirtyRing
            return
                "A dirty ring of \(capacity) entries is not possible: powers of two from \(smallest) to \(largest) are."
        case .initialXCR0(let value, let error):
            return "XCR0 cannot be 0x\(hex(value)) for a guest of this host's KVM (\(error))."
        case .noMemory(let byteCount, let error):
            return "\(byteCount >> 20) MiB of guest memory cannot be had: \(error)."
        case .noHugePages(let pageSize, let needed, let free):
            return """
                \(needed) huge pages of \(pageSize >> 20) MiB are needed and the host's pool has \(free) free; \
                /sys/kernel/mm/hugepages/hugepages-\(pageSize >> 10)kB/nr_hugepages sets its size.
                """
        }
    }
}
