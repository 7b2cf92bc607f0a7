/// An interrupt controller of 24 pins: section `ioapic`, version 3.
public struct IOAPICState: DeviceState, Equatable {
    public static let vmsdName = "ioapic"
    public static let currentVersion = 3
    public static let minimumVersion = 1
    public static let pinCount = 24

    public var id: UInt8 = 0
    /// The register that the index port selects.
    public var selectedRegister: UInt8 = 0
    /// A bit per pin whose interrupt is requested.
    public var interruptRequest: UInt32 = 0
    /// Redirection entries, as the guest programs them; masked after reset.
    public var redirectionTable = [UInt64](repeating: 1 << 16, count: pinCount)

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("id", &id)
        try coder.field("ioregsel", &selectedRegister)
        if coder.version >= 2 {
            try coder.unused(count: 8)
            try coder.field("irr", &interruptRequest)
        }
        try coder.field("ioredtbl", &redirectionTable, count: Self.pinCount)
    }
}
