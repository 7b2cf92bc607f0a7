/// The x87 unit.
public struct CPUFloatingPoint: Equatable, Sendable {
    /// 0x37F after FNINIT.
    public var control: UInt16 = 0x37F
    /// With the top of the stack in bits 11 to 13.
    public var status: UInt16 = 0
    /// A bit per register that holds a value.
    public var tags: UInt16 = 0
    /// 0, the 80-bit format.
    public var format: UInt16 = 0
    public var registers = [CPUFloatingPointRegister](repeating: CPUFloatingPointRegister(), count: 8)

    public init() {}

    mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("env.fpuc", &control)
        try coder.field("env.fpus_vmstate", &status)
        try coder.field("env.fptag_vmstate", &tags)
        try coder.field("env.fpregs_format_vmstate", &format)
        try coder.structures("env.fpregs", &registers)
    }
}

/// A number of 80 bits.
public struct CPUFloatingPointRegister: StateFormat, Equatable, Sendable {
    public static let vmsdName = "fpreg"
    public static let currentVersion = 0

    public var mantissa: UInt64 = 0
    /// Sign and exponent.
    public var exponent: UInt16 = 0

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.converted("tmp", "fpreg_tmp") { coder throws(StateError) in
            try coder.field("tmp_mant", &mantissa)
            try coder.field("tmp_exp", &exponent)
        }
    }
}

/// A segment register with what the processor keeps of its descriptor.
public struct CPUSegment: StateFormat, Equatable, Sendable {
    public static let vmsdName = "segment"
    public static let currentVersion = 1

    public var selector: UInt32 = 0
    public var base: UInt64 = 0
    /// In bytes.
    public var limit: UInt32 = 0xFFFF
    /// The attribute bits of the descriptor's second word: 8-11 type, 12 S, 13-14 DPL, 15 P, 20 AVL, 21 L, 22 D, 23 G.
    public var flags: UInt32 = 0

    public init(selector: UInt32 = 0, base: UInt64 = 0, limit: UInt32 = 0xFFFF, flags: UInt32 = 0) {
        self.selector = selector
        self.base = base
        self.limit = limit
        self.flags = flags
    }

    /// 64 KiB of data at 0, as in all segment registers but CS after reset.
    public static let resetData = CPUSegment(flags: 0x9300)
    /// The last 64 KiB below 4 GiB, where the first instruction lies.
    public static let resetCode = CPUSegment(selector: 0xF000, base: 0xFFFF_0000, flags: 0x9B00)

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("selector", &selector)
        try coder.field("base", &base)
        try coder.field("limit", &limit)
        try coder.field("flags", &flags)
    }
}

/// The low half of a 256-bit register.
public struct CPUVector128: StateFormat, Equatable, Sendable {
    public static let vmsdName = "xmm_reg"
    public static let currentVersion = 1

    public var low: UInt64 = 0
    public var high: UInt64 = 0

    public init(low: UInt64 = 0, high: UInt64 = 0) {
        self.low = low
        self.high = high
    }

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("_q_ZMMReg[0]", &low)
        try coder.field("_q_ZMMReg[1]", &high)
    }
}

/// The high half of a 256-bit register.
public struct CPUVectorHigh128: StateFormat, Equatable, Sendable {
    public static let vmsdName = "ymmh_reg"
    public static let currentVersion = 1

    public var low: UInt64 = 0
    public var high: UInt64 = 0

    public init(low: UInt64 = 0, high: UInt64 = 0) {
        self.low = low
        self.high = high
    }

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("_q_ZMMReg[2]", &low)
        try coder.field("_q_ZMMReg[3]", &high)
    }
}

/// A memory type range.
public struct CPUVariableMTRR: StateFormat, Equatable, Sendable {
    public static let vmsdName = "mtrr_var"
    public static let currentVersion = 1

    public var base: UInt64 = 0
    public var mask: UInt64 = 0

    public init(base: UInt64 = 0, mask: UInt64 = 0) {
        self.base = base
        self.mask = mask
    }

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("base", &base)
        try coder.field("mask", &mask)
    }
}

/// Machine check registers.
public struct CPUMachineCheck: Equatable, Sendable {
    public var capabilities: UInt64 = 0x100_010A
    public var status: UInt64 = 0
    public var control = UInt64.max
    /// Control, status, address and miscellaneous of ten banks.
    public var banks = (0..<40).map { $0 % 4 == 0 ? UInt64.max : 0 }

    public init() {}
}

/// The state of QEMU's own emulation of SVM; zero under KVM.
public struct CPUSVM: Equatable, Sendable {
    public var hostSaveArea: UInt64 = 0
    public var controlBlock: UInt64 = 0
    public var tscOffset: UInt64 = 0
    public var intercepts: UInt64 = 0
    public var controlReads: UInt16 = 0
    public var controlWrites: UInt16 = 0
    public var debugReads: UInt16 = 0
    public var debugWrites: UInt16 = 0
    public var exceptions: UInt32 = 0
    public var virtualTPR: UInt8 = 0

    public init() {}

    mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("env.vm_hsave", &hostSaveArea)
        try coder.field("env.vm_vmcb", &controlBlock)
        try coder.field("env.tsc_offset", &tscOffset)
        try coder.field("env.intercept", &intercepts)
        try coder.field("env.intercept_cr_read", &controlReads)
        try coder.field("env.intercept_cr_write", &controlWrites)
        try coder.field("env.intercept_dr_read", &debugReads)
        try coder.field("env.intercept_dr_write", &debugWrites)
        try coder.field("env.intercept_exceptions", &exceptions)
        try coder.field("env.v_tpr", &virtualTPR)
    }
}
