/// The parts of a processor's state that have subsections, in the order in which they are sent.
///
/// Optionals are sent whenever they are there. All else is sent when it differs from what a destination assumes.
public struct CPUExtraState: Equatable, Sendable {
    /// Sent while it is pending within a nested guest.
    public var exception = CPUPendingException()
    public var asyncPageFaultMSR: UInt64 = 0
    public var asyncPageFaultInterruptMSR: UInt64 = 0
    public var paravirtualEOIMSR: UInt64 = 0
    public var stealTimeMSR: UInt64 = 0
    /// 1 unless the guest polls on its own; a destination assumes 1.
    public var pollControlMSR: UInt64 = 1
    public var floatingPointLast = CPUFloatingPointLast()
    public var tscAdjust: UInt64 = 0
    public var tscDeadline: UInt64 = 0
    /// 1 by default: fast strings.
    public var miscellaneousEnable: UInt64 = 1
    public var featureControl: UInt64 = 0
    public var performance = CPUPerformanceMonitor()
    public var bounds = CPUBounds()
    public var hyperV = CPUHyperV()
    public var avx512 = CPUAVX512()
    public var xss: UInt64 = 0
    public var umwait: UInt32 = 0
    /// The frequency of the time stamp counter; 0 if it is not known, as under software emulation.
    public var tscKilohertz: Int64 = 0
    public var smiCount: UInt64 = 0
    public var pkru: UInt32 = 0
    public var pkrs: UInt32 = 0
    public var speculationControl: UInt64 = 0
    /// There with the feature TSC scaling of AMD.
    public var amdTSCRatio: UInt64?
    public var machineCheckExtendedControl: UInt64 = 0
    public var processorTrace = CPUProcessorTrace()
    public var virtualSSBD: UInt64 = 0
    /// Of software emulation's SVM; sent by bit 6 of `hiddenFlags2`.
    public var nestedCR3: UInt64 = 0
    public var nestedPagingMode: UInt32 = 0
    public var svmInterruptControl: UInt32 = 0
    /// KVM's state of the guest's own hypervisor; nil if it runs none.
    public var nested: CPUNestedState?
    /// Xen's, since QEMU 8.0.
    public var xen: CPUXen?
    /// There with the feature.
    public var tsxControl: UInt32?
    /// The hash of the key that signs SGX enclaves, four words; there with the feature.
    public var sgxPublicKeyHash: [UInt64]?
    /// The four page directory pointers, if the kernel gave them.
    public var pageDirectoryPointers: [UInt64]?
    /// There with the feature.
    public var extendedFeatureDisable: CPUExtendedFeatureDisable?
    /// There with the feature.
    public var amx: CPUAMX?
    /// There with the feature.
    public var lastBranches: CPULastBranches?
    public var tripleFaultPending: UInt8 = 0

    public init() {}

    /// What a destination assumes of what the source does not send.
    mutating func resetForLoading() { self = CPUExtraState() }
}

public struct CPUPendingException: Equatable, Sendable {
    public var pending: UInt8 = 0
    public var injected: UInt8 = 0
    public var hasPayload: UInt8 = 0
    public var payload: UInt64 = 0
}

/// The last x87 instruction.
public struct CPUFloatingPointLast: Equatable, Sendable {
    public var opcode: UInt16 = 0
    public var instructionPointer: UInt64 = 0
    public var dataPointer: UInt64 = 0
}

/// Performance counters: 3 fixed, 18 general.
public struct CPUPerformanceMonitor: Equatable, Sendable {
    public var fixedControl: UInt64 = 0
    public var globalControl: UInt64 = 0
    public var globalStatus: UInt64 = 0
    public var globalOverflowControl: UInt64 = 0
    public var fixedCounters = [UInt64](repeating: 0, count: 3)
    public var counters = [UInt64](repeating: 0, count: 18)
    public var eventSelects = [UInt64](repeating: 0, count: 18)
}

/// The bounds registers of MPX.
public struct CPUBounds: Equatable, Sendable {
    public var registers = [CPUBound](repeating: CPUBound(), count: 4)
    public var userConfiguration: UInt64 = 0
    public var status: UInt64 = 0
    public var supervisorConfiguration: UInt64 = 0
}

public struct CPUBound: StateFormat, Equatable, Sendable {
    public static let vmsdName = "bnd_regs"
    public static let currentVersion = 1

    public var lower: UInt64 = 0
    public var upper: UInt64 = 0

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("lb", &lower)
        try coder.field("ub", &upper)
    }
}

/// The registers of Hyper-V's interface.
public struct CPUHyperV: Equatable, Sendable {
    public var guestOSID: UInt64 = 0
    public var hypercall: UInt64 = 0
    public var vapic: UInt64 = 0
    public var referenceTSC: UInt64 = 0
    public var crashParameters = [UInt64](repeating: 0, count: 5)
    public var runtime: UInt64 = 0
    public var synicControl: UInt64 = 0
    public var synicEventPage: UInt64 = 0
    public var synicMessagePage: UInt64 = 0
    public var synicSources = [UInt64](repeating: 0, count: 16)
    public var timerConfigurations = [UInt64](repeating: 0, count: 4)
    public var timerCounts = [UInt64](repeating: 0, count: 4)
    public var reenlightenmentControl: UInt64 = 0
    public var tscEmulationControl: UInt64 = 0
    public var tscEmulationStatus: UInt64 = 0
}

/// The mask registers and what AVX-512 adds to the vector registers.
public struct CPUAVX512: Equatable, Sendable {
    public var masks = [UInt64](repeating: 0, count: 8)
    /// Bits 256 to 511 of registers 0 to 15.
    public var high = [CPUVectorHigh256](repeating: CPUVectorHigh256(), count: 16)
    /// Registers 16 to 31 whole.
    public var upper = [CPUVector512](repeating: CPUVector512(), count: 16)

    public init() {}
}

public struct CPUVectorHigh256: StateFormat, Equatable, Sendable {
    public static let vmsdName = "zmmh_reg"
    public static let currentVersion = 1

    /// Quadwords 4 to 7.
    public var words: [4 of UInt64] = [0, 0, 0, 0]

    public init() {}

    public static func == (left: Self, right: Self) -> Bool {
        left.words.indices.allSatisfy { left.words[$0] == right.words[$0] }
    }

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("_q_ZMMReg[4]", &words[0])
        try coder.field("_q_ZMMReg[5]", &words[1])
        try coder.field("_q_ZMMReg[6]", &words[2])
        try coder.field("_q_ZMMReg[7]", &words[3])
    }
}

public struct CPUVector512: StateFormat, Equatable, Sendable {
    public static let vmsdName = "hi16_zmm_reg"
    public static let currentVersion = 1

    /// Quadwords 0 to 7.
    public var words: [8 of UInt64] = [0, 0, 0, 0, 0, 0, 0, 0]

    public init() {}

    public static func == (left: Self, right: Self) -> Bool {
        left.words.indices.allSatisfy { left.words[$0] == right.words[$0] }
    }

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("_q_ZMMReg[0]", &words[0])
        try coder.field("_q_ZMMReg[1]", &words[1])
        try coder.field("_q_ZMMReg[2]", &words[2])
        try coder.field("_q_ZMMReg[3]", &words[3])
        try coder.field("_q_ZMMReg[4]", &words[4])
        try coder.field("_q_ZMMReg[5]", &words[5])
        try coder.field("_q_ZMMReg[6]", &words[6])
        try coder.field("_q_ZMMReg[7]", &words[7])
    }
}

public struct CPUProcessorTrace: Equatable, Sendable {
    public var control: UInt64 = 0
    public var status: UInt64 = 0
    public var outputBase: UInt64 = 0
    public var outputMask: UInt64 = 0
    public var cr3Match: UInt64 = 0
    public var addresses = [UInt64](repeating: 0, count: 8)
}

public struct CPUExtendedFeatureDisable: Equatable, Sendable {
    public var mask: UInt64 = 0
    public var error: UInt64 = 0

    public init(mask: UInt64 = 0, error: UInt64 = 0) {
        self.mask = mask
        self.error = error
    }
}

/// The tile unit: 64 bytes of configuration, 8192 of data.
public struct CPUAMX: Equatable, Sendable {
    public var configuration = [UInt8](repeating: 0, count: 64)
    public var data = [UInt8](repeating: 0, count: 8192)

    public init() {}
}

public struct CPULastBranches: Equatable, Sendable {
    public var control: UInt64 = 0
    public var depth: UInt64 = 0
    public var records = [CPULastBranch](repeating: CPULastBranch(), count: 32)

    public init() {}
}

public struct CPULastBranch: StateFormat, Equatable, Sendable {
    public static let vmsdName = "lbr_records_var"
    public static let currentVersion = 1

    public var from: UInt64 = 0
    public var to: UInt64 = 0
    public var info: UInt64 = 0

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("from", &from)
        try coder.field("to", &to)
        try coder.field("info", &info)
    }
}

/// The registers of Xen's interface, as QEMU emulates it.
public struct CPUXen: Equatable, Sendable {
    public var infoAddress: UInt64 = 0
    public var defaultInfoAddress: UInt64 = 0
    public var timeInfoAddress: UInt64 = 0
    public var runStateAddress: UInt64 = 0
    public var callbackVector: UInt8 = 0
    public var interrupts = [UInt16](repeating: 0, count: 24)
    public var singleShotTimer: UInt64 = 0
    public var periodicTimerPeriod: UInt64 = 0

    public init() {}
}
