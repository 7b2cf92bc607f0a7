internal import KVM
internal import MigrationStream

/// A model-specific register and the field of the `cpu` section that carries it.
struct MSRField: Sendable {
    let index: UInt32
    /// Lends the register's value, to be read or changed. Key paths would be shorter, and many times slower.
    let access: @Sendable (_ state: inout CPUState, _ body: (inout UInt64) -> Void) -> Void

    init(
        _ index: UInt32, _ access: @escaping @Sendable (_ state: inout CPUState, _ body: (inout UInt64) -> Void) -> Void
    ) {
        self.index = index
        self.access = access
    }

    /// A register of which the stream carries the low half.
    init(
        _ index: UInt32,
        low access: @escaping @Sendable (_ state: inout CPUState, _ body: (inout UInt32) -> Void) -> Void
    ) {
        self.init(index) { state, body in
            access(&state) { half in
                var value = UInt64(half)
                body(&value)
                half = UInt32(truncatingIfNeeded: value)
            }
        }
    }
}

extension CPUState {
    static let timeStampCounterMSR: UInt32 = 0x10
    static let timeStampCounterDeadlineMSR: UInt32 = 0x6E0

    /// Every register that moves, in the order in which it is set. The deadline timer comes last and apart: it needs
    /// the time stamp counter and the LAPIC's timer mode in place.
    static let msrFields: [MSRField] = systemFields + paravirtualFields + memoryTypeFields + machineCheckFields

    private static let systemFields: [MSRField] = [
        MSRField(timeStampCounterMSR) { $1(&$0.timeStampCounter) },
        MSRField(0x3B) { $1(&$0.extra.tscAdjust) },
        MSRField(0x174, low: { $1(&$0.sysenterCS) }), MSRField(0x175) { $1(&$0.sysenterESP) },
        MSRField(0x176) { $1(&$0.sysenterEIP) },
        MSRField(0x277) { $1(&$0.pat) },
        MSRField(0xC000_0081) { $1(&$0.star) }, MSRField(0xC000_0082) { $1(&$0.lstar) },
        MSRField(0xC000_0083) { $1(&$0.cstar) },
        MSRField(0xC000_0084) { $1(&$0.fmask) }, MSRField(0xC000_0102) { $1(&$0.kernelGSBase) },
        MSRField(0xC000_0103) { $1(&$0.tscAux) },
        MSRField(0x1A0) { $1(&$0.extra.miscellaneousEnable) }, MSRField(0x3A) { $1(&$0.extra.featureControl) },
        MSRField(0x48) { $1(&$0.extra.speculationControl) }, MSRField(0xC001_011F) { $1(&$0.extra.virtualSSBD) },
        MSRField(0xDA0) { $1(&$0.extra.xss) }, MSRField(0xE1, low: { $1(&$0.extra.umwait) }),
        MSRField(0x6E1, low: { $1(&$0.extra.pkrs) }),
        MSRField(0xD90) { $1(&$0.extra.bounds.supervisorConfiguration) }, MSRField(0x34) { $1(&$0.extra.smiCount) },
        MSRField(0x122) { state, body in
            // Sent only when the guest has the feature.
            var value = UInt64(state.extra.tsxControl ?? 0)
            body(&value)
            state.extra.tsxControl = value == 0 ? nil : UInt32(truncatingIfNeeded: value)
        },
    ]

    /// KVM's own interface to its guests.
    private static let paravirtualFields: [MSRField] = [
        MSRField(0x4B56_4D00) { $1(&$0.wallClockMSR) }, MSRField(0x4B56_4D01) { $1(&$0.systemTimeMSR) },
        MSRField(0x4B56_4D02) { $1(&$0.extra.asyncPageFaultMSR) },
        MSRField(0x4B56_4D06) { $1(&$0.extra.asyncPageFaultInterruptMSR) },
        MSRField(0x4B56_4D03) { $1(&$0.extra.stealTimeMSR) }, MSRField(0x4B56_4D04) { $1(&$0.extra.paravirtualEOIMSR) },
        MSRField(0x4B56_4D05) { $1(&$0.extra.pollControlMSR) },
    ]

    private static let memoryTypeFields: [MSRField] = {
        let fixed: [UInt32] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F]
        var fields = [MSRField(0x2FF) { $1(&$0.mtrrDefaultType) }]
        for (position, index) in fixed.enumerated() { fields.append(MSRField(index) { $1(&$0.mtrrFixed[position]) }) }
        for position in 0..<8 {
            fields.append(MSRField(UInt32(0x200 + 2 * position)) { $1(&$0.mtrrVariable[position].base) })
            fields.append(MSRField(UInt32(0x201 + 2 * position)) { $1(&$0.mtrrVariable[position].mask) })
        }
        return fields
    }()

    private static let machineCheckFields: [MSRField] = {
        var fields = [
            MSRField(0x17A) { $1(&$0.machineCheck.status) }, MSRField(0x17B) { $1(&$0.machineCheck.control) },
        ]
        for position in 0..<40 {
            fields.append(MSRField(UInt32(0x400 + position)) { $1(&$0.machineCheck.banks[position]) })
        }
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

    static let deadlineField = MSRField(timeStampCounterDeadlineMSR) { $1(&$0.extra.tscDeadline) }

    /// Takes over what the kernel gave of `msrFields` and `deadlineField`, in that order; a register that it does not have
    /// keeps its default.
    mutating func setMSRs(_ registers: [ModelSpecificRegister]) {
        var next = 0
        for field in Self.msrFields + [Self.deadlineField]
        where next < registers.count && registers[next].index == field.index {
            field.access(&self) { $0 = registers[next].value }
            next += 1
        }
        precondition(next == registers.count, "MSRs that were not asked for, or in another order")
    }

    /// Every register with its value here, and whether a kernel without it loses anything.
    var msrs: [(register: ModelSpecificRegister, isDefault: Bool)] {
        zip(Self.msrFields, zip(msrValues, Self.freshValues)).map { field, values in
            (ModelSpecificRegister(field.index, values.0), values.0 == values.1 || values.0 == 0)
        }
    }

    /// The values of `msrFields`.
    private var msrValues: [UInt64] {
        var state = self
        return Self.msrFields.map { field in
            var value: UInt64 = 0
            field.access(&state) { value = $0 }
            return value
        }
    }

    private static let freshValues = CPUState().msrValues
}
