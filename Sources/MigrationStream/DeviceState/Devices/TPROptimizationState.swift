/// The shortcut for 32-bit Windows guests' task priority: section `kvm-tpr-opt`, all zero while it is not in use.
public struct TPROptimizationState: DeviceState, Equatable {
    public static let vmsdName = "kvm-tpr-opt"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    public var guestROM = GuestROM()
    public var state: UInt32 = 0
    public var realTPRAddress: UInt32 = 0
    public var guestROMVirtualAddress: UInt32 = 0
    public var vapicAddress: UInt32 = 0
    public var guestROMAddress: UInt32 = 0

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.structure("rom_state", &guestROM)
        try coder.field("state", &state)
        try coder.field("real_tpr_addr", &realTPRAddress)
        try coder.field("rom_state_vaddr", &guestROMVirtualAddress)
        try coder.field("vapic_paddr", &vapicAddress)
        try coder.field("rom_state_paddr", &guestROMAddress)
    }

    /// The header of the option ROM that the guest runs.
    public struct GuestROM: StateFormat, Equatable, Sendable {
        public static let vmsdName = "kvmvapic-guest-rom"
        public static let currentVersion = 1

        public var virtualAddress: UInt32 = 0
        public var fixupStart: UInt32 = 0
        public var fixupEnd: UInt32 = 0
        public var vapicVirtualAddress: UInt32 = 0
        public var vapicSize: UInt32 = 0
        public var virtualCPUShift: UInt32 = 0
        public var realTPRAddress: UInt32 = 0
        public var uniprocessor = Handlers()
        public var multiprocessor = Handlers()

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.unused(count: 8)
            try coder.field("vaddr", &virtualAddress)
            try coder.field("fixup_start", &fixupStart)
            try coder.field("fixup_end", &fixupEnd)
            try coder.field("vapic_vaddr", &vapicVirtualAddress)
            try coder.field("vapic_size", &vapicSize)
            try coder.field("vcpu_shift", &virtualCPUShift)
            try coder.field("real_tpr_addr", &realTPRAddress)
            try coder.structure("up", &uniprocessor)
            try coder.structure("mp", &multiprocessor)
        }
    }

    /// Addresses of the routines that replace accesses to the task priority register.
    public struct Handlers: StateFormat, Equatable, Sendable {
        public static let vmsdName = "kvmvapic-handlers"
        public static let currentVersion = 1

        public var setTPR: UInt32 = 0
        public var setTPRFromEAX: UInt32 = 0
        public var getTPR = [UInt32](repeating: 0, count: 8)
        public var getTPROnStack: UInt32 = 0

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.field("set_tpr", &setTPR)
            try coder.field("set_tpr_eax", &setTPRFromEAX)
            try coder.field("get_tpr", &getTPR, count: 8)
            try coder.field("get_tpr_stack", &getTPROnStack)
        }
    }
}
