/// The 8254 interval timer: section `i8254`, version 3. Times are nanoseconds of the virtual clock.
public struct PITState: DeviceState, Equatable {
    public static let vmsdName = "i8254"
    public static let currentVersion = 3
    public static let minimumVersion = 2

    /// Not 0 while channel 0 raises no interrupt because another timer has taken its place.
    public var interruptDisabled: UInt32 = 0
    /// The gate of the third, which drives the speaker, is closed after reset.
    public var channels = [Channel(), Channel(), Channel(gate: 0)]
    /// When channel 0 changes its output next; -1 if it does not.
    public var nextTransitionTime: Int64 = -1

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        if coder.version >= 3 { try coder.field("channels[0].irq_disabled", &interruptDisabled) }
        try coder.structures("channels", &channels)
        try coder.field("channels[0].next_transition_time", &nextTransitionTime)
    }

    /// One counter.
    public struct Channel: StateFormat, Equatable, Sendable {
        public static let vmsdName = "pit channel"
        public static let currentVersion = 2

        /// 0x10000 for a programmed count of 0.
        public var count: Int32 = 0x10000
        public var latchedCount: UInt16 = 0
        public var countLatched: UInt8 = 0
        public var statusLatched: UInt8 = 0
        public var status: UInt8 = 0
        public var readState: UInt8 = 0
        public var writeState: UInt8 = 0
        public var writeLatch: UInt8 = 0
        public var accessMode: UInt8 = 0
        public var mode: UInt8 = 3
        public var isBCD: UInt8 = 0
        public var gate: UInt8
        public var countLoadTime: Int64 = 0
        public var nextTransitionTime: Int64 = 0

        public init(gate: UInt8 = 1) { self.gate = gate }

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.field("count", &count)
            try coder.field("latched_count", &latchedCount)
            try coder.field("count_latched", &countLatched)
            try coder.field("status_latched", &statusLatched)
            try coder.field("status", &status)
            try coder.field("read_state", &readState)
            try coder.field("write_state", &writeState)
            try coder.field("write_latch", &writeLatch)
            try coder.field("rw_mode", &accessMode)
            try coder.field("mode", &mode)
            try coder.field("bcd", &isBCD)
            try coder.field("gate", &gate)
            try coder.field("count_load_time", &countLoadTime)
            try coder.field("next_transition_time", &nextTransitionTime)
        }
    }
}
