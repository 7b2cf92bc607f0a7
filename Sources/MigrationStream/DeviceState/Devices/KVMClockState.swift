/// The paravirtual clock of KVM: section `kvmclock`.
public struct KVMClockState: DeviceState, Equatable {
    public static let vmsdName = "kvmclock"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    /// Nanoseconds that KVM_GET_CLOCK gave when the guest stopped.
    public var clock: UInt64 = 0
    /// Whether KVM called that clock stable; nil if the source does not say, as with machine types before 2.9.
    public var isReliable: Bool? = true

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("clock", &clock)
        var isReliable = self.isReliable ?? false
        var isSent = coder.direction != .load && self.isReliable != nil
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("kvmclock/clock_is_reliable", isNeeded: isSent) { coder throws(StateError) in
                try coder.field("clock_is_reliable", &isReliable)
                isSent = true
            }
        }
        self.isReliable = isSent ? isReliable : nil
    }
}
