/// The real-time clock with its memory: section `mc146818rtc`, version 3.
public struct RTCState: DeviceState, Equatable {
    public static let vmsdName = "mc146818rtc"
    public static let currentVersion = 3
    public static let minimumVersion = 1

    /// The clock's registers and the memory behind them, 128 bytes.
    public var memory = [UInt8](repeating: 0, count: 128)
    public var selectedIndex: UInt8 = 0
    public var periodicTimer: UInt64?
    public var nextPeriodicTime: Int64 = 0
    public var coalescedInterruptCount: UInt32 = 0
    public var period: UInt32 = 0
    /// Seconds since 1970 at `lastUpdate`.
    public var baseTime: UInt64 = 0
    /// Nanoseconds of the clock that drives the device, by default the host's wall clock.
    public var lastUpdate: UInt64 = 0
    /// Nanoseconds.
    public var offset: Int64 = 0
    public var updateTimer: UInt64?
    public var nextAlarmTime: UInt64 = 0
    public var reinjectOnAcknowledgeCount: UInt16 = 0

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.buffer("cmos_data", &memory, count: 128)
        try coder.field("cmos_index", &selectedIndex)
        try coder.unused("unused[0]", count: 28)
        try coder.timer("periodic_timer", &periodicTimer)
        try coder.field("next_periodic_time", &nextPeriodicTime)
        try coder.unused("unused[1]", count: 24)
        if coder.version >= 2 {
            try coder.field("irq_coalesced", &coalescedInterruptCount)
            try coder.field("period", &period)
        }
        if coder.version >= 3 {
            try coder.field("base_rtc", &baseTime)
            try coder.field("last_update", &lastUpdate)
            try coder.field("offset", &offset)
            try coder.timer("update_timer", &updateTimer)
            try coder.field("next_alarm_time", &nextAlarmTime)
        }
        try coder.subsections { coder throws(StateError) in
            try coder.subsection(
                "mc146818rtc/irq_reinject_on_ack_count", isNeeded: reinjectOnAcknowledgeCount != 0
            ) { coder throws(StateError) in
                try coder.field("irq_reinject_on_ack_count", &reinjectOnAcknowledgeCount)
            }
        }
    }
}
