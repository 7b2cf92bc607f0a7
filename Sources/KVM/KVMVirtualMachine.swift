internal import CLinux
public import LinuxSystem

/// A virtual machine: memory slots, dirty log, interrupt controllers, clock.
///
/// Every method is one ioctl and may be called from any thread. Memory handed over must outlive the machine.
public final class KVMVirtualMachine: Sendable {
    public let system: KVMSystem
    let descriptor: OwnedDescriptor

    init(system: KVMSystem, descriptor: consuming OwnedDescriptor) {
        self.system = system
        self.descriptor = descriptor
    }

    /// The value of a capability for this machine, 0 when it is missing.
    public func value(of capability: KVMCapability) -> Int {
        Int(
            max(
                0,
                clinux_kvm_value(
                    descriptor.number, UInt(CLINUX_KVM_CHECK_EXTENSION), UInt(capability.rawValue))))
    }

    /// Switches a capability on; most must be before the first virtual CPU.
    public func enable(_ capability: KVMCapability, _ argument: UInt64 = 0) throws(SystemError) {
        var request = kvm_enable_cap()
        request.cap = UInt32(capability.rawValue)
        request.args.0 = argument
        try call(CLINUX_KVM_ENABLE_CAP, &request, "KVM_ENABLE_CAP \(capability.rawValue)")
    }

    /// Makes the virtual CPU with this index, which becomes its APIC id.
    public func makeVirtualCPU(index: Int) throws(SystemError) -> KVMVirtualCPU {
        let number = try check(
            clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_CREATE_VCPU), UInt(index)), "KVM_CREATE_VCPU",
            String(index))
        return try KVMVirtualCPU(machine: self, index: index, descriptor: OwnedDescriptor(adopting: number))
    }

    // MARK: Memory

    /// What is special about a memory slot.
    public struct MemorySlotFlags: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        public static let logsDirtyPages = MemorySlotFlags(rawValue: 1)
        public static let isReadOnly = MemorySlotFlags(rawValue: 2)
    }

    /// Makes host memory visible at a guest address, or changes the flags of a slot that is there.
    ///
    /// All three are multiples of 4096; slots must not overlap. The caller keeps the memory mapped until the slot is
    /// removed or the machine is gone.
    public func setMemorySlot(
        _ slot: UInt32, guestAddress: UInt64, hostAddress: UnsafeMutableRawPointer, byteCount: Int,
        flags: MemorySlotFlags = []
    ) throws(SystemError) {
        var region = kvm_userspace_memory_region(
            slot: slot, flags: flags.rawValue, guest_phys_addr: guestAddress, memory_size: UInt64(byteCount),
            userspace_addr: UInt64(UInt(bitPattern: hostAddress)))
        try call(CLINUX_KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION \(slot)")
    }

    /// Takes a slot away; accesses there become MMIO exits.
    public func removeMemorySlot(_ slot: UInt32) throws(SystemError) {
        var region = kvm_userspace_memory_region()
        region.slot = slot
        try call(CLINUX_KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION \(slot)")
    }

    /// Copies the dirty log of a slot into `bitmap`, one bit per 4 KiB page, least significant bit first.
    ///
    /// Also clears the log, unless `manualDirtyLogProtection` is enabled: then `clearDirtyLog` does that.
    /// - Precondition: `bitmap` has a bit for every page of the slot.
    public func getDirtyLog(slot: UInt32, into bitmap: inout MutableSpan<UInt64>) throws(SystemError) {
        let result = bitmap.withUnsafeMutableBufferPointer {
            clinux_kvm_get_dirty_log(descriptor.number, slot, $0.baseAddress)
        }
        _ = try check(result, "KVM_GET_DIRTY_LOG", String(slot))
    }

    /// Clears the pages whose bits are set in `bitmap`, and protects them again: the next write is logged.
    ///
    /// Needs `manualDirtyLogProtection`. Bit 0 of `bitmap` is page `firstPage`, a multiple of 64; `pageCount` is one
    /// too, or reaches to the slot's end.
    public func clearDirtyLog(slot: UInt32, firstPage: Int, pageCount: Int, bitmap: Span<UInt64>) throws(SystemError) {
        precondition(
            firstPage % 64 == 0 && bitmap.count * 64 >= pageCount,
            "pages \(firstPage)+\(pageCount), \(bitmap.count) words")
        let result = bitmap.withUnsafeBufferPointer {
            clinux_kvm_clear_dirty_log(
                descriptor.number, slot, UInt64(firstPage), UInt32(pageCount), $0.baseAddress)
        }
        _ = try check(result, "KVM_CLEAR_DIRTY_LOG", String(slot))
    }

    /// Protects the pages taken from all dirty rings again; how many there were.
    public func resetDirtyRings() throws(SystemError) -> Int {
        Int(
            try check(
                clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_RESET_DIRTY_RINGS), 0), "KVM_RESET_DIRTY_RINGS"))
    }

    /// Three pages below 4 GiB that Intel hosts use for themselves; before the first virtual CPU.
    public func setTSSAddress(_ address: UInt32) throws(SystemError) {
        _ = try check(
            clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_SET_TSS_ADDR), UInt(address)), "KVM_SET_TSS_ADDR")
    }

    /// One page below 4 GiB that Intel hosts use for themselves; before the first virtual CPU.
    public func setIdentityMapAddress(_ address: UInt64) throws(SystemError) {
        var address = address
        try call(CLINUX_KVM_SET_IDENTITY_MAP_ADDR, &address, "KVM_SET_IDENTITY_MAP_ADDR")
    }

    /// Which virtual CPU starts by itself; before the first is made.
    public func setBootCPU(index: Int) throws(SystemError) {
        _ = try check(
            clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_SET_BOOT_CPU_ID), UInt(index)), "KVM_SET_BOOT_CPU_ID")
    }

    /// One ioctl with a structure.
    func call<Argument>(_ request: some BinaryInteger, _ argument: inout Argument, _ name: @autoclosure () -> String)
        throws(SystemError)
    {
        let result = withUnsafeMutablePointer(to: &argument) {
            clinux_kvm(descriptor.number, UInt(request), UnsafeMutableRawPointer($0))
        }
        _ = try check(result, name())
    }
}
