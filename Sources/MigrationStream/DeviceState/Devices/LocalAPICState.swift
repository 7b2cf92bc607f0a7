/// The local interrupt controller of one processor: section `apic`, version 3.
public struct LocalAPICState: DeviceState, Equatable {
    public static let vmsdName = "apic"
    public static let currentVersion = 3
    public static let minimumVersion = 3

    /// The base address register's low half: bit 8 bootstrap processor, bit 11 enabled.
    public var base: UInt32 = 0xFEE0_0900
    public var id: UInt8 = 0
    public var arbitrationID: UInt8 = 0
    public var taskPriority: UInt8 = 0
    public var spuriousVector: UInt32 = 0xFF
    public var logicalDestination: UInt8 = 0
    /// 0xF flat, 0 cluster.
    public var destinationMode: UInt8 = 0xF
    /// In service, trigger mode and request: 256 bits each, vector 0 lowest in the first.
    public var inService = [UInt32](repeating: 0, count: 8)
    public var triggerMode = [UInt32](repeating: 0, count: 8)
    public var interruptRequest = [UInt32](repeating: 0, count: 8)
    /// Timer, thermal, performance, LINT0, LINT1, error.
    public var localVectors = [UInt32](repeating: 0x10000, count: 6)
    public var errorStatus: UInt32 = 0
    /// Low and high half.
    public var interruptCommand: [UInt32] = [0, 0]
    public var divideConfiguration: UInt32 = 0
    public var countShift: Int32 = 0
    public var initialCount: UInt32 = 0
    /// Nanoseconds of the virtual clock.
    public var initialCountLoadTime: Int64 = 0
    public var nextTime: Int64 = 0
    /// -1 while the timer is not armed.
    public var timerExpiry: Int64 = -1
    public var startupVector: Int32 = 0
    /// Not 0 while the processor waits to be started by another.
    public var waitsForStartup: Int32 = 0

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("apicbase", &base)
        try coder.field("id", &id)
        try coder.field("arb_id", &arbitrationID)
        try coder.field("tpr", &taskPriority)
        try coder.field("spurious_vec", &spuriousVector)
        try coder.field("log_dest", &logicalDestination)
        try coder.field("dest_mode", &destinationMode)
        try coder.field("isr", &inService, count: 8)
        try coder.field("tmr", &triggerMode, count: 8)
        try coder.field("irr", &interruptRequest, count: 8)
        try coder.field("lvt", &localVectors, count: 6)
        try coder.field("esr", &errorStatus)
        try coder.field("icr", &interruptCommand, count: 2)
        try coder.field("divide_conf", &divideConfiguration)
        try coder.field("count_shift", &countShift)
        try coder.field("initial_count", &initialCount)
        try coder.field("initial_count_load_time", &initialCountLoadTime)
        try coder.field("next_time", &nextTime)
        try coder.field("timer_expiry", &timerExpiry)
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("apic_sipi", isNeeded: waitsForStartup != 0) { coder throws(StateError) in
                try coder.field("sipi_vector", &startupVector)
                try coder.field("wait_for_sipi", &waitsForStartup)
            }
        }
    }
}
