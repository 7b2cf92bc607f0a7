internal import CLinux

/// The in-kernel IOAPIC: 24 pins.
///
/// The kernel's structure holds the redirection table in a union that Swift does not import; this is all of it.
public struct IOAPICState: Equatable, Sendable {
    /// Where its registers are: 0xFEC00000.
    public var address: UInt64
    public var id: UInt32
    /// The register that the index register selects.
    public var selectedRegister: UInt32
    /// One bit per pin.
    public var interruptRequests: UInt32
    /// 24 entries.
    public var redirections: [UInt64]

    public static let pinCount = 24

    public init(
        address: UInt64 = 0xFEC0_0000, id: UInt32 = 0, selectedRegister: UInt32 = 0, interruptRequests: UInt32 = 0,
        redirections: [UInt64] = Array(repeating: 0x10000, count: pinCount)
    ) {
        self.address = address
        self.id = id
        self.selectedRegister = selectedRegister
        self.interruptRequests = interruptRequests
        self.redirections = redirections
    }

    init(_ chip: kvm_irqchip) {
        address = chip.chip.ioapic.base_address
        id = chip.chip.ioapic.id
        selectedRegister = chip.chip.ioapic.ioregsel
        interruptRequests = chip.chip.ioapic.irr
        var chip = chip
        redirections = (0..<Self.pinCount).map { clinux_kvm_redirection(&chip, Int32($0)) }
    }

    var chip: kvm_irqchip {
        precondition(redirections.count == Self.pinCount, "\(redirections.count) pins of \(Self.pinCount)")
        var chip = kvm_irqchip()
        chip.chip_id = 2
        chip.chip.ioapic.base_address = address
        chip.chip.ioapic.id = id
        chip.chip.ioapic.ioregsel = selectedRegister
        chip.chip.ioapic.irr = interruptRequests
        for (pin, value) in redirections.enumerated() { clinux_kvm_set_redirection(&chip, Int32(pin), value) }
        return chip
    }
}
