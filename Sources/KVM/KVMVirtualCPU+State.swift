public import CLinux
public import LinuxSystem
internal import Synchronization

/// The state of a virtual CPU, group by group, in the kernel's structures.
///
/// Only while it does not run. A whole state is set in the order: CPUID, TSC frequency, special registers, XSAVE, XCRs,
/// registers, debug registers, MSRs, nested, LAPIC, events, multiprocessor state.
extension KVMVirtualCPU {
    public func getRegisters() throws(SystemError) -> kvm_regs {
        try get(CLINUX_KVM_GET_REGS, kvm_regs(), "KVM_GET_REGS")
    }
    public func setRegisters(_ state: kvm_regs) throws(SystemError) {
        try set(CLINUX_KVM_SET_REGS, state, "KVM_SET_REGS")
    }

    /// Segments, tables, control registers, EFER, APIC base and the interrupt being injected.
    public func getSpecialRegisters() throws(SystemError) -> kvm_sregs {
        try get(CLINUX_KVM_GET_SREGS, kvm_sregs(), "KVM_GET_SREGS")
    }
    public func setSpecialRegisters(_ state: kvm_sregs) throws(SystemError) {
        try set(CLINUX_KVM_SET_SREGS, state, "KVM_SET_SREGS")
    }

    /// As `getSpecialRegisters`, with the PDPTRs and without the interrupt being injected.
    public func getSpecialRegisters2() throws(SystemError) -> kvm_sregs2 {
        try get(CLINUX_KVM_GET_SREGS2, kvm_sregs2(), "KVM_GET_SREGS2")
    }
    public func setSpecialRegisters2(_ state: kvm_sregs2) throws(SystemError) {
        try set(CLINUX_KVM_SET_SREGS2, state, "KVM_SET_SREGS2")
    }

    /// x87 and SSE only; `getXSave` has everything.
    public func getFPU() throws(SystemError) -> kvm_fpu { try get(CLINUX_KVM_GET_FPU, kvm_fpu(), "KVM_GET_FPU") }
    public func setFPU(_ state: kvm_fpu) throws(SystemError) { try set(CLINUX_KVM_SET_FPU, state, "KVM_SET_FPU") }

    /// The XSAVE area in the standard (not compacted) format, laid out as CPUID leaf 13 says; 4096 bytes or more.
    public func getXSave() throws(SystemError) -> [UInt8] {
        let size = max(4096, machine.value(of: .xsave2))
        var bytes = [UInt8](repeating: 0, count: size)
        let request = machine.value(of: .xsave2) > 0 ? CLINUX_KVM_GET_XSAVE2 : CLINUX_KVM_GET_XSAVE
        let result = bytes.withUnsafeMutableBytes { clinux_kvm(descriptor.number, UInt(request), $0.baseAddress) }
        _ = try check(result, "KVM_GET_XSAVE2")
        return bytes
    }
    /// - Precondition: as many bytes as `getXSave` gives here.
    public func setXSave(_ bytes: [UInt8]) throws(SystemError) {
        let size = max(4096, machine.value(of: .xsave2))
        precondition(bytes.count == size, "\(bytes.count) bytes for an XSAVE area of \(size)")
        var bytes = bytes
        let result = bytes.withUnsafeMutableBytes {
            clinux_kvm(descriptor.number, UInt(CLINUX_KVM_SET_XSAVE), $0.baseAddress)
        }
        _ = try check(result, "KVM_SET_XSAVE")
    }

    /// Extended control registers; XCR0 is the only one today.
    public func getXCRs() throws(SystemError) -> kvm_xcrs { try get(CLINUX_KVM_GET_XCRS, kvm_xcrs(), "KVM_GET_XCRS") }
    public func setXCRs(_ state: kvm_xcrs) throws(SystemError) { try set(CLINUX_KVM_SET_XCRS, state, "KVM_SET_XCRS") }

    public func getLocalAPIC() throws(SystemError) -> LocalAPICState {
        LocalAPICState(try get(CLINUX_KVM_GET_LAPIC, kvm_lapic_state(), "KVM_GET_LAPIC"))
    }
    public func setLocalAPIC(_ state: LocalAPICState) throws(SystemError) {
        try set(CLINUX_KVM_SET_LAPIC, state.state, "KVM_SET_LAPIC")
    }

    /// Exceptions, interrupts, NMIs and SMIs being injected or pending.
    public func getEvents() throws(SystemError) -> kvm_vcpu_events {
        try get(CLINUX_KVM_GET_VCPU_EVENTS, kvm_vcpu_events(), "KVM_GET_VCPU_EVENTS")
    }
    public func setEvents(_ state: kvm_vcpu_events) throws(SystemError) {
        try set(CLINUX_KVM_SET_VCPU_EVENTS, state, "KVM_SET_VCPU_EVENTS")
    }

    public func getDebugRegisters() throws(SystemError) -> kvm_debugregs {
        try get(CLINUX_KVM_GET_DEBUGREGS, kvm_debugregs(), "KVM_GET_DEBUGREGS")
    }
    public func setDebugRegisters(_ state: kvm_debugregs) throws(SystemError) {
        try set(CLINUX_KVM_SET_DEBUGREGS, state, "KVM_SET_DEBUGREGS")
    }

    /// KVM_MP_STATE_*: 0 runnable, 1 uninitialized, 2 INIT received, 3 halted, 4 SIPI received.
    public func getMultiprocessorState() throws(SystemError) -> UInt32 {
        try get(CLINUX_KVM_GET_MP_STATE, kvm_mp_state(), "KVM_GET_MP_STATE").mp_state
    }
    public func setMultiprocessorState(_ state: UInt32) throws(SystemError) {
        try set(CLINUX_KVM_SET_MP_STATE, kvm_mp_state(mp_state: state), "KVM_SET_MP_STATE")
    }

    public func getCPUID() throws(SystemError) -> [kvm_cpuid_entry2] {
        try cpuidEntries(of: descriptor.number, CLINUX_KVM_GET_CPUID2, "KVM_GET_CPUID2")
    }
    /// Before the first run.
    public func setCPUID(_ entries: [kvm_cpuid_entry2]) throws(SystemError) {
        _ = try check(clinux_kvm_set_cpuid(descriptor.number, entries, UInt32(entries.count)), "KVM_SET_CPUID2")
        refusals.withLock { $0 = [] }
    }

    /// The frequency of the guest's TSC in kHz.
    public func getTSCFrequency() throws(SystemError) -> Int {
        Int(try check(clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_GET_TSC_KHZ), 0), "KVM_GET_TSC_KHZ"))
    }
    /// Needs hardware TSC scaling (`.tscControl`) for anything that is not nearly the host's own frequency.
    public func setTSCFrequency(_ kilohertz: Int) throws(SystemError) {
        _ = try check(
            clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_SET_TSC_KHZ), UInt(kilohertz)), "KVM_SET_TSC_KHZ")
    }

    /// Tells the guest's soft-lockup detection that it was paused. EINVAL when the guest has no kvmclock.
    public func markPaused() throws(SystemError) {
        _ = try check(clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_KVMCLOCK_CTRL), 0), "KVM_KVMCLOCK_CTRL")
    }

    /// Registers read, and those that the kernel would not read.
    public struct MSRRead: Equatable, Sendable {
        public let registers: [ModelSpecificRegister]
        public let refused: [UInt32]
    }

    /// Reads registers; one that the kernel refuses does not keep the others from being read.
    ///
    /// Each refusal costs another call, so the kernel is asked once only for a register that it does not have.
    public func getMSRs(_ indices: [UInt32]) throws(SystemError) -> MSRRead {
        let unreadable = unreadableMSRs
        var registers: [ModelSpecificRegister] = []
        var refused: [UInt32] = []
        var rest = indices.filter { !unreadable.contains($0) }.map { kvm_msr_entry(index: $0, reserved: 0, data: 0) }
        while !rest.isEmpty {
            let count = Int(
                try check(clinux_kvm_get_msrs(descriptor.number, &rest, UInt32(rest.count)), "KVM_GET_MSRS"))
            registers += rest.prefix(count).map { ModelSpecificRegister($0.index, $0.data) }
            if count < rest.count { refused.append(rest[count].index) }
            rest.removeFirst(min(rest.count, count + 1))
        }
        if !refused.isEmpty { refusals.withLock { $0.formUnion(refused) } }
        return MSRRead(registers: registers, refused: indices.filter { unreadable.contains($0) } + refused)
    }

    /// Registers that the kernel has refused to read since the virtual CPU has its CPUID: it has no such registers.
    public var unreadableMSRs: Set<UInt32> { refusals.withLock { $0 } }

    /// Sets registers in order; those that the kernel refused.
    public func setMSRs(_ registers: [ModelSpecificRegister]) throws(SystemError) -> [ModelSpecificRegister] {
        var refused: [ModelSpecificRegister] = []
        var rest = registers.map { kvm_msr_entry(index: $0.index, reserved: 0, data: $0.value) }
        while !rest.isEmpty {
            let count = Int(
                try check(clinux_kvm_set_msrs(descriptor.number, rest, UInt32(rest.count)), "KVM_SET_MSRS"))
            if count < rest.count { refused.append(ModelSpecificRegister(rest[count].index, rest[count].data)) }
            rest.removeFirst(min(rest.count, count + 1))
        }
        return refused
    }

    /// The state of a guest that runs guests itself: `struct kvm_nested_state` with what follows it.
    ///
    /// Empty when the kernel has no such state for this virtual CPU.
    public func getNestedState() throws(SystemError) -> [UInt8] {
        let capacity = machine.value(of: .nestedState)
        guard capacity >= 128 else { return [] }
        var bytes = [UInt8](repeating: 0, count: capacity)
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: UInt32(capacity), toByteOffset: 4, as: UInt32.self) }
        let result = bytes.withUnsafeMutableBytes {
            clinux_kvm(descriptor.number, UInt(CLINUX_KVM_GET_NESTED_STATE), $0.baseAddress)
        }
        if result == -22 { return [] }  // EINVAL: no nested virtualisation in this virtual CPU
        _ = try check(result, "KVM_GET_NESTED_STATE")
        let size = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self) }
        return Array(bytes.prefix(Int(size)))
    }
    public func setNestedState(_ bytes: [UInt8]) throws(SystemError) {
        precondition(bytes.count >= 128, "\(bytes.count) bytes are no nested state")
        var bytes = bytes
        let result = bytes.withUnsafeMutableBytes {
            clinux_kvm(descriptor.number, UInt(CLINUX_KVM_SET_NESTED_STATE), $0.baseAddress)
        }
        _ = try check(result, "KVM_SET_NESTED_STATE")
    }

    /// Injects an interrupt; without an in-kernel controller only.
    public func injectInterrupt(vector: UInt8) throws(SystemError) {
        try set(CLINUX_KVM_INTERRUPT, kvm_interrupt(irq: UInt32(vector)), "KVM_INTERRUPT")
    }
    public func injectNMI() throws(SystemError) {
        _ = try check(clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_NMI), 0), "KVM_NMI")
    }

    /// The guest address behind a linear address, nil when it is not mapped.
    public func translate(_ linearAddress: UInt64) throws(SystemError) -> UInt64? {
        var translation = kvm_translation()
        translation.linear_address = linearAddress
        translation = try get(CLINUX_KVM_TRANSLATE, translation, "KVM_TRANSLATE")
        return translation.valid != 0 ? translation.physical_address : nil
    }

    private func get<State>(_ request: some BinaryInteger, _ initial: State, _ name: String) throws(SystemError)
        -> State
    {
        var state = initial
        let result = withUnsafeMutablePointer(to: &state) {
            clinux_kvm(descriptor.number, UInt(request), UnsafeMutableRawPointer($0))
        }
        _ = try check(result, name, "virtual CPU \(index)")
        return state
    }

    private func set<State>(_ request: some BinaryInteger, _ state: State, _ name: String) throws(SystemError) {
        var state = state
        let result = withUnsafeMutablePointer(to: &state) {
            clinux_kvm(descriptor.number, UInt(request), UnsafeMutableRawPointer($0))
        }
        _ = try check(result, name, "virtual CPU \(index)")
    }
}
