internal import CLinux
internal import KVM
internal import LinuxSystem
internal import MigrationStream

/// All of a virtual CPU: the sections `cpu_common`, `cpu` and `apic`.
///
///     KVM's structures  <-- save, load -->  this  <-- bytes -->  stream
struct VirtualCPUState: Sendable {
    var common = CPUCommonState()
    var cpu = CPUState()
    var apic = MigrationStream::LocalAPICState()
}

/// A state that this host's KVM does not take.
public enum MachineStateError: Error, Equatable, CustomStringConvertible {
    /// A model-specific register that holds something and that KVM refuses.
    case refusedMSR(cpu: Int, index: UInt32, value: UInt64)
    /// Vector state that this processor has no registers for.
    case missingFeatures(cpu: Int, [String])
    /// The guest runs guests itself, which does not move.
    case nestedGuest(cpu: Int)

    public var description: String {
        switch self {
        case .refusedMSR(let cpu, let index, let value):
            "Virtual CPU \(cpu): this host's KVM refuses MSR 0x\(hex(UInt64(index))) = 0x\(hex(value))."
        case .missingFeatures(let cpu, let names):
            "Virtual CPU \(cpu) holds \(names.joined(separator: ", ")) state, which this host's processor lacks."
        case .nestedGuest(let cpu): "Virtual CPU \(cpu) runs a guest of its own, which this machine does not offer."
        }
    }
}

func hex(_ value: UInt64) -> String { String(value, radix: 16) }

/// What KVM tells of a virtual CPU, as it tells it.
struct KernelCPUState: Sendable {
    let multiprocessorState: UInt32
    let events: kvm_vcpu_events
    let registers: kvm_regs
    let specialRegisters: kvm_sregs
    let vectorState: [UInt8]
    let xcr0: UInt64
    let debugRegisters: kvm_debugregs
    let modelSpecificRegisters: [ModelSpecificRegister]
    let tscKilohertz: Int
    let localAPIC: KVM::LocalAPICState

    /// Reads all state of a virtual CPU that does not run.
    init(reading virtualCPU: KVMVirtualCPU) throws {
        // The order is the kernel's: reading the run state may let a pending INIT or SIPI take effect.
        multiprocessorState = try virtualCPU.getMultiprocessorState()
        events = try virtualCPU.getEvents()
        registers = try virtualCPU.getRegisters()
        specialRegisters = try virtualCPU.getSpecialRegisters()
        vectorState = try virtualCPU.getXSave()
        xcr0 = try virtualCPU.getXCRs().extendedControlRegister0 ?? 1
        debugRegisters = try virtualCPU.getDebugRegisters()
        let indices = (CPUState.msrFields + [CPUState.deadlineField]).map(\.index)
        modelSpecificRegisters = try virtualCPU.getMSRs(indices).registers
        tscKilohertz = try virtualCPU.getTSCFrequency()
        localAPIC = try virtualCPU.getLocalAPIC()
    }
}

extension VirtualCPUState {
    /// Reads all state of a virtual CPU that does not run.
    ///
    /// - Parameter virtualClock: nanoseconds of the guest's clock, at which it stopped.
    init(saving virtualCPU: KVMVirtualCPU, layout: XSaveLayout, virtualClock: Int64) throws {
        self.init(try KernelCPUState(reading: virtualCPU), layout: layout, virtualClock: virtualClock)
    }

    init(_ kernel: KernelCPUState, layout: XSaveLayout, virtualClock: Int64) {
        cpu.multiprocessorState = kernel.multiprocessorState
        cpu.setEvents(kernel.events)
        cpu.setRegisters(kernel.registers)
        cpu.setSpecialRegisters(kernel.specialRegisters)
        cpu.setVectorState(fromXSave: kernel.vectorState, layout: layout)
        cpu.xcr0 = kernel.xcr0
        cpu.setDebugRegisters(kernel.debugRegisters)
        cpu.setMSRs(kernel.modelSpecificRegisters)
        cpu.widenMemoryTypeMasks(from: layout.physicalAddressMask)
        cpu.extra.tscKilohertz = Int64(kernel.tscKilohertz)
        cpu.updateHiddenFlags()
        apic = MigrationStream::LocalAPICState(
            kernel.localAPIC, base: kernel.specialRegisters.apic_base, multiprocessorState: cpu.multiprocessorState,
            virtualClock: virtualClock)
        common.halted = cpu.multiprocessorState == 3 ? 1 : 0
    }

    /// Sets all state of virtual CPUs that have their CPUID and do not run.
    ///
    /// All in one call: their time stamp counters belong together.
    ///
    /// - Throws: `MachineStateError` for what this host does not have, `SystemError` for what the kernel refuses.
    static func load(
        _ states: [VirtualCPUState], into virtualCPUs: [KVMVirtualCPU], layout: XSaveLayout, virtualClock: Int64
    ) throws {
        precondition(states.count == virtualCPUs.count, "\(states.count) states of \(virtualCPUs.count) virtual CPUs")
        for (state, virtualCPU) in zip(states, virtualCPUs) { try state.setTSCFrequency(of: virtualCPU) }
        let frequency = try virtualCPUs.first?.getTSCFrequency() ?? 0
        let counters = TimeStampCounters(
            saved: states.map(\.cpu.timeStampCounter), frequency: UInt64(frequency) * 1000)
        try counters.set(of: virtualCPUs)
        for (state, virtualCPU) in zip(states, virtualCPUs) {
            try state.load(into: virtualCPU, layout: layout, virtualClock: virtualClock)
        }
    }

    /// Whether KVM reads guest memory when the registers are set: the four page directory pointers of a 32-bit guest with
    /// physical address extension, which a processor keeps.
    var loadingReadsMemory: Bool {
        let pages = cpu.cr0 >> 31 & 1 == 1
        let extends = cpu.cr4 >> 5 & 1 == 1
        let isLong = cpu.efer >> 10 & 1 == 1
        return pages && extends && !isLong
    }

    private func setTSCFrequency(of virtualCPU: KVMVirtualCPU) throws {
        let frequency = try virtualCPU.getTSCFrequency()
        if cpu.extra.tscKilohertz > 0 && cpu.extra.tscKilohertz != Int64(frequency) {
            try virtualCPU.setTSCFrequency(Int(cpu.extra.tscKilohertz))
        }
    }

    /// All but the time stamp counter, which is set already.
    func load(into virtualCPU: KVMVirtualCPU, layout: XSaveLayout, virtualClock: Int64) throws {
        let index = virtualCPU.index
        if cpu.extra.nested != nil { throw MachineStateError.nestedGuest(cpu: index) }
        try virtualCPU.setSpecialRegisters(
            cpu.kvmSpecialRegisters(apicBase: UInt64(apic.base), taskPriority: UInt64(apic.taskPriority >> 4)))
        var area = try virtualCPU.getXSave()
        let homeless = cpu.storeVectorState(inXSave: &area, layout: layout)
        if !homeless.isEmpty { throw MachineStateError.missingFeatures(cpu: index, homeless) }
        try virtualCPU.setXSave(area)
        try virtualCPU.setXCRs(kvm_xcrs(extendedControlRegister0: cpu.xcr0))
        try virtualCPU.setRegisters(cpu.kvmRegisters)
        try virtualCPU.setDebugRegisters(cpu.kvmDebugRegisters)
        try setMSRs(of: virtualCPU, layout)
        try virtualCPU.setLocalAPIC(apic.kernelState(virtualClock: virtualClock))
        if cpu.extra.tscDeadline != 0 {
            _ = try virtualCPU.setMSRs([
                ModelSpecificRegister(CPUState.timeStampCounterDeadlineMSR, cpu.extra.tscDeadline)
            ])
        }
        try virtualCPU.setEvents(cpu.kvmEvents(hasPayload: false))
        try virtualCPU.setMultiprocessorState(cpu.multiprocessorState)
    }

    private func setMSRs(of virtualCPU: KVMVirtualCPU, _ layout: XSaveLayout) throws {
        var cpu = cpu
        cpu.narrowMemoryTypeMasks(to: layout.physicalAddressMask)
        let absent = virtualCPU.unreadableMSRs
        let registers = cpu.msrs.filter { register, isDefault in
            register.index != CPUState.timeStampCounterMSR && !(isDefault && absent.contains(register.index))
        }
        let refused = Set(try virtualCPU.setMSRs(registers.map(\.register)))
        for (register, isDefault) in registers where refused.contains(register) && !isDefault {
            throw MachineStateError.refusedMSR(cpu: virtualCPU.index, index: register.index, value: register.value)
        }
    }
}

extension kvm_xcrs {
    /// XCR0, nil if the kernel gave none.
    var extendedControlRegister0: UInt64? { nr_xcrs > 0 && xcrs.0.xcr == 0 ? xcrs.0.value : nil }

    init(extendedControlRegister0 value: UInt64) {
        self.init()
        nr_xcrs = 1
        xcrs.0.xcr = 0
        xcrs.0.value = value
    }
}
