internal import CLinux
public import LinuxSystem
internal import Synchronization

/// A virtual CPU.
///
/// One thread runs it and reads or sets its state; `kick` and the exit request may be used from any thread.
///
///     cpu.bindToCurrentThread()
///     while !stop.load() { switch try cpu.run() { … } }       // the thread
///     stop.store(true); cpu.kick(with: signal)                // anyone: the thread is out of the guest soon
///     cpu.clearExitRequest()                                  // before it runs again
public final class KVMVirtualCPU: @unchecked Sendable {
    // Safe: the mapping lives as long as this object; its fields are used by the running thread only, apart from
    // immediate_exit, which is stored and loaded atomically.
    private let shared: UnsafeMutablePointer<kvm_run>
    private let mappedByteCount: Int
    private let thread = Atomic<Int32>(0)
    public let machine: KVMVirtualMachine
    public let index: Int
    let descriptor: OwnedDescriptor
    let refusals = Mutex<Set<UInt32>>([])

    init(machine: KVMVirtualMachine, index: Int, descriptor: consuming OwnedDescriptor) throws(SystemError) {
        let size = try machine.system.virtualCPUMappingSize()
        var address: UnsafeMutableRawPointer?
        _ = try check(clinux_kvm_map(descriptor.number, UInt64(size), 0, &address), "mmap virtual CPU")
        guard let address, size >= MemoryLayout<kvm_run>.size else {
            throw SystemError(call: "mmap virtual CPU", subject: "\(size) bytes", number: 12)
        }
        shared = address.bindMemory(to: kvm_run.self, capacity: 1)
        mappedByteCount = size
        self.machine = machine
        self.index = index
        self.descriptor = descriptor
    }

    deinit { _ = clinux_unmap(shared, mappedByteCount) }

    /// Runs the guest until something needs the monitor.
    ///
    /// - Throws: what KVM_RUN refuses. A kick is no error but `.interrupted`.
    @_lifetime(borrow self)
    public func run() throws(SystemError) -> VirtualCPUExit {
        let result = clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_RUN), 0)
        if result < 0 {
            // EINTR: a signal or the exit request. EAGAIN: the virtual CPU was not runnable yet.
            if result == -4 || result == -11 { return .interrupted }
            // With EFAULT the guest touched memory that the host cannot give: that is the guest's view of a host fault,
            // not a wrong address of ours.
            throw SystemError(call: "KVM_RUN", subject: "virtual CPU \(index)", number: -result)
        }
        let reason = shared.pointee.exit_reason
        switch Int32(bitPattern: reason) {
        case KVM_EXIT_IO: return portExit()
        case KVM_EXIT_MMIO: return memoryExit()
        case KVM_EXIT_INTR: return .interrupted
        case KVM_EXIT_HLT: return .halted
        case KVM_EXIT_SHUTDOWN: return .shutdown
        case KVM_EXIT_SYSTEM_EVENT: return .systemEvent(type: shared.pointee.system_event.type)
        case KVM_EXIT_DIRTY_RING_FULL: return .dirtyRingFull
        case KVM_EXIT_IRQ_WINDOW_OPEN: return .interruptWindowOpen
        case KVM_EXIT_IOAPIC_EOI: return .ioAPICEndOfInterrupt(vector: shared.pointee.eoi.vector)
        case KVM_EXIT_FAIL_ENTRY:
            return .entryFailed(reason: shared.pointee.fail_entry.hardware_entry_failure_reason)
        case KVM_EXIT_INTERNAL_ERROR: return internalErrorExit()
        case KVM_EXIT_DEBUG: return .debug
        default: return .other(reason: reason)
        }
    }

    /// Completes what the last exit began (a port read, a write in several parts) without running guest code.
    ///
    /// To be called after the last exit before state is read: otherwise the registers are those of an instruction half
    /// done.
    public func completeExit() throws(SystemError) {
        let wasRequested = clinux_kvm_immediate_exit(shared)
        clinux_kvm_set_immediate_exit(shared, 1)
        let result = clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_RUN), 0)
        if wasRequested == 0 { clinux_kvm_set_immediate_exit(shared, 0) }
        if result < 0 && result != -4 && result != -11 {
            throw SystemError(call: "KVM_RUN", subject: "virtual CPU \(index)", number: -result)
        }
    }

    // MARK: Kick

    /// Says that the calling thread runs this virtual CPU, so that `kick` can interrupt it.
    public func bindToCurrentThread() { thread.store(ThreadIdentity.current.number, ordering: .releasing) }

    /// Makes the next, or the present, `run` return `.interrupted`, until `clearExitRequest`.
    ///
    /// The request is stored before the signal is sent: a signal that lands just before KVM_RUN would else be lost.
    public func kick(with signal: RealTimeSignal) {
        requestExit()
        let number = thread.load(ordering: .acquiring)
        if number != 0 { signal.send(to: ThreadIdentity(number: number)) }
    }

    /// Makes every `run` from now on return `.interrupted`, without a signal for one that is under way.
    public func requestExit() { clinux_kvm_set_immediate_exit(shared, 1) }

    /// Lets `run` run again.
    public func clearExitRequest() { clinux_kvm_set_immediate_exit(shared, 0) }

    /// Whether an exit was requested and not cleared.
    public var isExitRequested: Bool { clinux_kvm_immediate_exit(shared) != 0 }

    /// Maps this virtual CPU's dirty ring of `capacity` entries, as enabled for the machine.
    public func mapDirtyRing(capacity: Int) throws(SystemError) -> DirtyRing {
        try DirtyRing(descriptor: descriptor.number, capacity: capacity)
    }

    // MARK: Exits

    @_lifetime(borrow self)
    private func portExit() -> VirtualCPUExit {
        let io = shared.pointee.io
        let count = Int(io.size) * Int(io.count)
        precondition(
            Int(io.data_offset) + count <= mappedByteCount, "\(count) bytes at \(io.data_offset) of \(mappedByteCount)")
        let start = UnsafeMutableRawPointer(shared) + Int(io.data_offset)
        if Int32(io.direction) == KVM_EXIT_IO_OUT {
            let bytes = _overrideLifetime(RawSpan(_unsafeStart: start, byteCount: count), borrowing: self)
            return .portWrite(port: io.port, width: Int(io.size), bytes: bytes)
        }
        let bytes = _overrideLifetime(MutableRawSpan(_unsafeStart: start, byteCount: count), borrowing: self)
        return .portRead(port: io.port, width: Int(io.size), bytes: bytes)
    }

    @_lifetime(borrow self)
    private func memoryExit() -> VirtualCPUExit {
        let address = shared.pointee.mmio.phys_addr
        let count = min(8, Int(shared.pointee.mmio.len))
        let start = UnsafeMutableRawPointer(shared) + Int(CLINUX_KVM_MEMORY_EXIT_OFFSET)
        if shared.pointee.mmio.is_write != 0 {
            let bytes = _overrideLifetime(RawSpan(_unsafeStart: start, byteCount: count), borrowing: self)
            return .memoryWrite(address: address, bytes: bytes)
        }
        let bytes = _overrideLifetime(MutableRawSpan(_unsafeStart: start, byteCount: count), borrowing: self)
        return .memoryRead(address: address, bytes: bytes)
    }

    @_lifetime(immortal)
    private func internalErrorExit() -> VirtualCPUExit {
        let failure = shared.pointee.emulation_failure
        // ndata counts 64-bit words: flags, then size and bytes of the instruction, if flag 0 says so.
        guard failure.suberror == 1, failure.ndata >= 3, failure.flags & 1 != 0 else {
            return .internalError(suberror: failure.suberror, instruction: [])
        }
        let bytes = withUnsafeBytes(of: failure.insn_bytes) { Array($0.prefix(Int(failure.insn_size))) }
        return .internalError(suberror: failure.suberror, instruction: bytes)
    }
}
