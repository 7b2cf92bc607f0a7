/// The ACPI generic event device: section `acpi-ged`.
public struct ACPIGEDState: DeviceState, Equatable {
    public static let vmsdName = "acpi-ged"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    /// Events that have happened and that the guest has not read: bit 1 power button.
    public var events = Events()
    /// The memory slots; `microvm` has none, yet sends them.
    public var memoryHotplug = MemoryHotplug()

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.structure("ged_state", &events)
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("acpi-ged/memhp", isNeeded: true) { coder throws(StateError) in
                try coder.structure("memhp_state", &memoryHotplug)
            }
        }
    }

    public struct Events: StateFormat, Equatable, Sendable {
        public static let vmsdName = "acpi-ged-state"
        public static let currentVersion = 1

        public var selector: UInt32 = 0

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.field("sel", &selector)
        }
    }

    public struct MemoryHotplug: StateFormat, Equatable, Sendable {
        public static let vmsdName = "memory hotplug state"
        public static let currentVersion = 1

        public var selector: UInt32 = 0
        /// As many as the machine has: the stream does not say how many.
        public var slots: [MemorySlot] = []

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.field("selector", &selector)
            try coder.structures("devs", &slots)
        }
    }

    public struct MemorySlot: StateFormat, Equatable, Sendable {
        public static let vmsdName = "memory hotplug device state"
        public static let currentVersion = 1

        public var isEnabled = false
        public var isInserting = false
        public var event: UInt32 = 0
        public var status: UInt32 = 0

        public init() {}

        public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
            try coder.field("is_enabled", &isEnabled)
            try coder.field("is_inserting", &isInserting)
            try coder.field("ost_event", &event)
            try coder.field("ost_status", &status)
        }
    }
}
