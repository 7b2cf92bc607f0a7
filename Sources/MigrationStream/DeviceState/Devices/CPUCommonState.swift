/// What every kind of processor has: section `cpu_common`, one per virtual CPU.
public struct CPUCommonState: DeviceState, Equatable {
    public static let vmsdName = "cpu_common"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    /// Whether the processor waits for an interrupt; 0 or 1.
    public var halted: UInt32 = 0
    /// QEMU's bits for pending interrupts: 0x02 external, 0x40 SMI, 0x200 NMI, 0x400 INIT, 0x800 SIPI. Under KVM 0.
    public var interruptRequest: UInt32 = 0
    /// The exception that software emulation was about to raise; -1 for none.
    public var exceptionIndex: Int32 = -1
    /// Whether the guest has told of a crash.
    public var hasCrashed = false

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("halted", &halted)
        try coder.field("interrupt_request", &interruptRequest)
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("cpu_common/exception_index", isNeeded: exceptionIndex != -1) {
                coder throws(StateError) in try coder.field("exception_index", &exceptionIndex)
            }
            try coder.subsection("cpu_common/crash_occurred", isNeeded: hasCrashed) { coder throws(StateError) in
                try coder.field("crash_occurred", &hasCrashed)
            }
        }
    }
}
