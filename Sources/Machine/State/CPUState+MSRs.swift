internal import KVM
internal import MigrationStream

/// A model-specific register and the field of the `cpu` section that carries it.
struct MSRField: Sendable {
    let index: UInt32
    let get: @Sendable (CPUState) -> UInt64
    let set: @Sendable (inout CPUState, UInt64) -> Void

    init(_ index: UInt32, _ path: any WritableKeyPath<CPUState, UInt64> & Sendable) {
        self.index = index
        get = { $0[keyPath: path] }
        set = { $0[keyPath: path] = $1 }
    }

    /// A register of which the stream carries the low half.
    init(_ index: UInt32, low path: any WritableKeyPath<CPUState, UInt32> & Sendable) {
        self.index = index
        get = { UInt64($0[keyPath: path]) }
        set = { $0[keyPath: path] = UInt32(truncatingIfNeeded: $1) }
    }

    /// A register whose field is sent only when the guest has the feature.
    init(_ index: UInt32, optional path: any WritableKeyPath<CPUState, UInt32?> & Sendable) {
        self.index = index
        get = { UInt64($0[keyPath: path] ?? 0) }
        set = { $0[keyPath: path] = $1 == 0 ? nil : UInt32(truncatingIfNeeded: $1) }
    }
}

extension CPUState {
    static let timeStampCounterMSR: UInt32 = 0x10
    static let timeStampCounterDeadlineMSR: UInt32 = 0x6E0

    /// Every register that moves, in the order in which it is set. The deadline timer comes last and apart: it needs
    /// the time stamp counter and the LAPIC's timer mode in place.
    static let msrFields: [MSRField] = systemFields + paravirtualFields + memoryTypeFields + machineCheckFields

    private static let systemFields: [MSRField] = [
        MSRField(timeStampCounterMSR, \.timeStampCounter),
        MSRField(0x3B, \.extra.tscAdjust),
        MSRField(0x174, low: \.sysenterCS), MSRField(0x175, \.sysenterESP), MSRField(0x176, \.sysenterEIP),
        MSRField(0x277, \.pat),
        MSRField(0xC000_0081, \.star), MSRField(0xC000_0082, \.lstar), MSRField(0xC000_0083, \.cstar),
        MSRField(0xC000_0084, \.fmask), MSRField(0xC000_0102, \.kernelGSBase), MSRField(0xC000_0103, \.tscAux),
        MSRField(0x1A0, \.extra.miscellaneousEnable), MSRField(0x3A, \.extra.featureControl),
        MSRField(0x48, \.extra.speculationControl), MSRField(0xC001_011F, \.extra.virtualSSBD),
        MSRField(0xDA0, \.extra.xss), MSRField(0xE1, low: \.extra.umwait), MSRField(0x6E1, low: \.extra.pkrs),
        MSRField(0xD90, \.extra.bounds.supervisorConfiguration), MSRField(0x34, \.extra.smiCount),
        MSRField(0x122, optional: \.extra.tsxControl),
    ]

    /// KVM's own interface to its guests.
    private static let paravirtualFields: [MSRField] = [
        MSRField(0x4B56_4D00, \.wallClockMSR), MSRField(0x4B56_4D01, \.systemTimeMSR),
        MSRField(0x4B56_4D02, \.extra.asyncPageFaultMSR), MSRField(0x4B56_4D06, \.extra.asyncPageFaultInterruptMSR),
        MSRField(0x4B56_4D03, \.extra.stealTimeMSR), MSRField(0x4B56_4D04, \.extra.paravirtualEOIMSR),
        MSRField(0x4B56_4D05, \.extra.pollControlMSR),
    ]

    private static let memoryTypeFields: [MSRField] = {
        let fixed: [UInt32] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F]
        var fields = [MSRField(0x2FF, \.mtrrDefaultType)]
        for (position, index) in fixed.enumerated() { fields.append(MSRField(index, \.mtrrFixed[position])) }
        for position in 0..<8 {
            fields.append(MSRField(UInt32(0x200 + 2 * position), \.mtrrVariable[position].base))
            fields.append(MSRField(UInt32(0x201 + 2 * position), \.mtrrVariable[position].mask))
        }
        return fields
    }()

    private static let machineCheckFields: [MSRField] = {
        var fields = [MSRField(0x17A, \.machineCheck.status), MSRField(0x17B, \.machineCheck.control)]
        for position in 0..<40 { fields.append(MSRField(UInt32(0x400 + position), \.machineCheck.banks[position])) }
        return fields
    }()

    /// Sets the bits above the processor's addresses in the masks of memory types, as QEMU's stream has them: a
    /// destination with wider addresses then finds them set.
    mutating func widenMemoryTypeMasks(from addressMask: UInt64) {
        for index in mtrrVariable.indices { mtrrVariable[index].mask |= ((1 << 52) - 1) & ~addressMask }
    }

    /// Clears those bits again, which the processor refuses.
    mutating func narrowMemoryTypeMasks(to addressMask: UInt64) {
        for index in mtrrVariable.indices { mtrrVariable[index].mask &= addressMask }
    }

    static let deadlineField = MSRField(timeStampCounterDeadlineMSR, \.extra.tscDeadline)

    /// Takes over what the kernel gave; a register that it does not have keeps its default.
    mutating func setMSRs(_ registers: [ModelSpecificRegister]) {
        let values = Dictionary(registers.map { ($0.index, $0.value) }, uniquingKeysWith: { $1 })
        for field in Self.msrFields + [Self.deadlineField] {
            if let value = values[field.index] { field.set(&self, value) }
        }
    }

    /// Every register with its value here, and whether a kernel without it loses anything.
    var msrs: [(register: ModelSpecificRegister, isDefault: Bool)] {
        zip(Self.msrFields, Self.freshValues).map { field, fresh in
            let value = field.get(self)
            return (ModelSpecificRegister(field.index, value), value == fresh || value == 0)
        }
    }

    private static let freshValues: [UInt64] = {
        let fresh = CPUState()
        return msrFields.map { $0.get(fresh) }
    }()
}
