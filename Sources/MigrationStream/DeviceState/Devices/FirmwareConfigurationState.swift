/// The device through which firmware reads the machine's configuration: section `fw_cfg`, version 2.
public struct FirmwareConfigurationState: DeviceState, Equatable {
    public static let vmsdName = "fw_cfg"
    public static let currentVersion = 2
    public static let minimumVersion = 1

    /// The key that the guest selected.
    public var selectedEntry: UInt16 = 0
    /// The position within that entry.
    public var offset: UInt32 = 0
    /// The address the guest wrote for a transfer by DMA; nil if the device has none.
    public var dmaAddress: UInt64? = 0
    /// Sizes of the blocks with ACPI tables; nil without ACPI.
    public var acpi: ACPISizes?

    /// Bytes of memory blocks that the firmware's files live in.
    public struct ACPISizes: Equatable, Sendable {
        public var tables: UInt64
        public var linker: UInt64
        public var rsdp: UInt64

        public init(tables: UInt64, linker: UInt64, rsdp: UInt64) {
            self.tables = tables
            self.linker = linker
            self.rsdp = rsdp
        }
    }

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("cur_entry", &selectedEntry)
        if coder.version >= 2 {
            try coder.field("cur_offset[1]", &offset)
        } else {
            var short = UInt16(truncatingIfNeeded: offset)
            try coder.field("cur_offset[0]", &short)
            offset = UInt32(short)
        }
        var dma = coder.direction == .load ? nil : dmaAddress
        var acpi = coder.direction == .load ? nil : self.acpi
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("fw_cfg/dma", version: 0, isNeeded: dma != nil) { coder throws(StateError) in
                var address = dma ?? 0
                try coder.field("dma_addr", &address)
                dma = address
            }
            try coder.subsection("fw_cfg/acpi_mr", isNeeded: acpi != nil) { coder throws(StateError) in
                var sizes = acpi ?? ACPISizes(tables: 0, linker: 0, rsdp: 0)
                try coder.field("table_mr_size", &sizes.tables)
                try coder.field("linker_mr_size", &sizes.linker)
                try coder.field("rsdp_mr_size", &sizes.rsdp)
                acpi = sizes
            }
        }
        dmaAddress = dma
        self.acpi = acpi
    }
}
