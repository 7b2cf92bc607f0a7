internal import CLinux
internal import MigrationStream

/// The general and special registers between KVM's structures and QEMU's fields.
extension CPUState {
    mutating func setRegisters(_ state: kvm_regs) {
        registers = [
            state.rax, state.rcx, state.rdx, state.rbx, state.rsp, state.rbp, state.rsi, state.rdi, state.r8, state.r9,
            state.r10, state.r11, state.r12, state.r13, state.r14, state.r15,
        ]
        instructionPointer = state.rip
        flags = state.rflags
    }

    var kvmRegisters: kvm_regs {
        kvm_regs(
            rax: registers[0], rbx: registers[3], rcx: registers[1], rdx: registers[2], rsi: registers[6],
            rdi: registers[7], rsp: registers[4], rbp: registers[5], r8: registers[8], r9: registers[9],
            r10: registers[10], r11: registers[11], r12: registers[12], r13: registers[13], r14: registers[14],
            r15: registers[15], rip: instructionPointer, rflags: flags)
    }

    mutating func setSpecialRegisters(_ state: kvm_sregs) {
        segments = [state.es, state.cs, state.ss, state.ds, state.fs, state.gs].map(CPUSegment.init)
        ldt = CPUSegment(state.ldt)
        taskRegister = CPUSegment(state.tr)
        gdt = CPUSegment(base: state.gdt.base, limit: UInt32(state.gdt.limit))
        idt = CPUSegment(base: state.idt.base, limit: UInt32(state.idt.limit))
        cr0 = state.cr0
        cr2 = state.cr2
        cr3 = state.cr3
        cr4 = state.cr4
        efer = state.efer
    }

    /// - Parameters:
    ///   - apicBase: from the section `apic`.
    ///   - taskPriority: CR8, the upper half of the LAPIC's task priority.
    func kvmSpecialRegisters(apicBase: UInt64, taskPriority: UInt64) -> kvm_sregs {
        var state = kvm_sregs()
        state.es = segments[0].kvm
        state.cs = segments[1].kvm
        state.ss = segments[2].kvm
        state.ds = segments[3].kvm
        state.fs = segments[4].kvm
        state.gs = segments[5].kvm
        state.ldt = ldt.kvm
        state.tr = taskRegister.kvm
        state.gdt.base = gdt.base
        state.gdt.limit = UInt16(truncatingIfNeeded: gdt.limit)
        state.idt.base = idt.base
        state.idt.limit = UInt16(truncatingIfNeeded: idt.limit)
        state.cr0 = cr0
        state.cr2 = cr2
        state.cr3 = cr3
        state.cr4 = cr4
        state.cr8 = taskPriority
        state.efer = efer
        state.apic_base = apicBase
        if (0..<256).contains(injectedInterrupt) {
            let vector = Int(injectedInterrupt)
            withUnsafeMutableBytes(of: &state.interrupt_bitmap) { bitmap in
                let word = bitmap.load(fromByteOffset: vector / 64 * 8, as: UInt64.self)
                bitmap.storeBytes(of: word | 1 << UInt64(vector % 64), toByteOffset: vector / 64 * 8, as: UInt64.self)
            }
        }
        return state
    }

    mutating func setDebugRegisters(_ state: kvm_debugregs) {
        debugRegisters = [state.db.0, state.db.1, state.db.2, state.db.3, 0, 0, state.dr6, state.dr7]
    }

    var kvmDebugRegisters: kvm_debugregs {
        var state = kvm_debugregs()
        state.db = (debugRegisters[0], debugRegisters[1], debugRegisters[2], debugRegisters[3])
        state.dr6 = debugRegisters[6]
        state.dr7 = debugRegisters[7]
        return state
    }

    mutating func setEvents(_ state: kvm_vcpu_events) {
        exceptionNumber = -1
        hasErrorCode = state.exception.has_error_code
        if state.exception.injected != 0 { exceptionNumber = Int32(state.exception.nr) }
        if state.flags & UInt32(KVM_VCPUEVENT_VALID_PAYLOAD) != 0 {
            extra.exception.pending = state.exception.pending
            extra.exception.injected = state.exception.injected
            extra.exception.hasPayload = state.exception_has_payload
            extra.exception.payload = state.exception_payload
            if state.exception.pending != 0 { exceptionNumber = Int32(state.exception.nr) }
        }
        injectedInterrupt = state.interrupt.injected != 0 ? Int32(state.interrupt.nr) : -1
        softInterrupt = state.interrupt.soft
        nmiInjected = state.nmi.injected
        nmiPending = state.nmi.pending
        hiddenFlags2 = state.nmi.masked != 0 ? hiddenFlags2 | Self.nmiBlocked : hiddenFlags2 & ~Self.nmiBlocked
        startupVector = state.sipi_vector
        if state.flags & UInt32(KVM_VCPUEVENT_VALID_SHADOW) != 0 && state.interrupt.shadow != 0 {
            hiddenFlags |= Self.interruptShadow
        } else {
            hiddenFlags &= ~Self.interruptShadow
        }
    }

    /// - Parameter hasPayload: whether the machine was asked for exceptions with a payload.
    func kvmEvents(hasPayload: Bool) -> kvm_vcpu_events {
        var state = kvm_vcpu_events()
        if exceptionNumber >= 0 {
            state.exception.nr = UInt8(truncatingIfNeeded: exceptionNumber)
            state.exception.has_error_code = hasErrorCode
            if hasPayload && extra.exception.pending != 0 {
                state.exception.pending = 1
                state.exception_has_payload = extra.exception.hasPayload
                state.exception_payload = extra.exception.payload
            } else {
                state.exception.injected = 1
            }
        }
        if hasPayload { state.flags |= UInt32(KVM_VCPUEVENT_VALID_PAYLOAD) }
        state.interrupt.injected = injectedInterrupt >= 0 ? 1 : 0
        state.interrupt.nr = UInt8(truncatingIfNeeded: max(injectedInterrupt, 0))
        state.interrupt.soft = softInterrupt
        state.interrupt.shadow = hiddenFlags & Self.interruptShadow != 0 ? UInt8(KVM_X86_SHADOW_INT_STI) : 0
        state.nmi.injected = nmiInjected
        state.nmi.pending = nmiPending
        state.nmi.masked = hiddenFlags2 & Self.nmiBlocked != 0 ? 1 : 0
        state.sipi_vector = startupVector
        state.flags |= UInt32(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW)
        if multiprocessorState == 4 { state.flags |= UInt32(KVM_VCPUEVENT_VALID_SIPI_VECTOR) }
        return state
    }

    static let nmiBlocked: UInt32 = 1 << 2
    static let interruptShadow: UInt32 = 1 << 3

    /// Computes QEMU's digest of the mode, as a destination that emulates the processor needs it.
    ///
    /// The interrupt shadow is kept: it is no function of the registers.
    mutating func updateHiddenFlags() {
        var digest = hiddenFlags & Self.interruptShadow
        let (es, cs, ss, ds) = (segments[0], segments[1], segments[2], segments[3])
        let isProtected = cr0 & 1 != 0
        let isVirtual8086 = flags & (1 << 17) != 0
        let isLong = efer & (1 << 10) != 0
        if isProtected { digest |= isVirtual8086 ? 3 : ss.flags >> 13 & 3 }
        if isLong && cs.flags & (1 << 21) != 0 {
            digest |= 1 << 4 | 1 << 5 | 1 << 15
        } else {
            digest |= (cs.flags >> 22 & 1) << 4 | (ss.flags >> 22 & 1) << 5
            let hasBase = (ds.base | es.base | ss.base) != 0
            if !isProtected || isVirtual8086 || cs.flags >> 22 & 1 == 0 || hasBase { digest |= 1 << 6 }
        }
        digest |= UInt32(cr0 & 1) << 7
        digest |= UInt32(cr0 >> 1 & 7) << 9
        digest |= UInt32(flags & (1 << 8 | 3 << 12 | 1 << 16 | 1 << 17 | 1 << 18))
        if isLong { digest |= 1 << 14 }
        if efer & (1 << 12) != 0 { digest |= 1 << 20 }
        if cr4 & (1 << 9) != 0 { digest |= 1 << 22 }
        if cr4 & (1 << 21) != 0 { digest |= 1 << 23 }
        if cr4 & (1 << 11) != 0 { digest |= 1 << 27 }
        if cr4 & (1 << 18) != 0 && xcr0 & 4 != 0 { digest |= 1 << 28 }
        hiddenFlags = digest
    }
}

extension CPUSegment {
    init(_ segment: kvm_segment) {
        var attributes: UInt32 = 0
        if segment.unusable == 0 {
            attributes |= UInt32(segment.type) << 8 | UInt32(segment.s) << 12 | UInt32(segment.dpl) << 13
            attributes |= UInt32(segment.present) << 15 | UInt32(segment.avl) << 20 | UInt32(segment.l) << 21
            attributes |= UInt32(segment.db) << 22 | UInt32(segment.g) << 23
        }
        self.init(selector: UInt32(segment.selector), base: segment.base, limit: segment.limit, flags: attributes)
    }

    var kvm: kvm_segment {
        func bit(_ number: UInt32) -> UInt8 { UInt8(flags >> number & 1) }
        return kvm_segment(
            base: base, limit: limit, selector: UInt16(truncatingIfNeeded: selector), type: UInt8(flags >> 8 & 15),
            present: bit(15), dpl: UInt8(flags >> 13 & 3), db: bit(22), s: bit(12), l: bit(21), g: bit(23),
            avl: bit(20), unusable: 1 - bit(15), padding: 0)
    }
}
