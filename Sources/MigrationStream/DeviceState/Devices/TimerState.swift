/// The virtual clock and the time stamp counter's base: section `timer`, version 2.
public struct TimerState: DeviceState, Equatable {
    public static let vmsdName = "timer"
    public static let currentVersion = 2
    public static let minimumVersion = 1

    /// Ticks that the guest's time stamp counter was at when the guest stopped.
    public var ticksOffset: Int64 = 0
    /// Nanoseconds that the virtual clock was at when the guest stopped.
    public var clockOffset: Int64 = 0

    public init() {}

    /// offset  size  field
    ///      0     8  ticks
    ///      8     8  unused
    ///     16     8  clock, from version 2 on
    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("cpu_ticks_offset", &ticksOffset)
        try coder.unused(count: 8)
        if coder.version >= 2 { try coder.field("cpu_clock_offset", &clockOffset) }
    }
}
