internal import CLinux
internal import LinuxSystem

/// The pages that one virtual CPU has dirtied, in the order of their first write: KVM's dirty ring.
///
/// The kernel fills entries, this side takes them; `KVMVirtualMachine.resetDirtyRings` then lets the pages be reported
/// again. One thread at a time takes entries.
public final class DirtyRing: @unchecked Sendable {
    // Safe: the entries are read and given back by atomic operations; `next` belongs to the thread that takes.
    private let entries: UnsafeMutablePointer<kvm_dirty_gfn>
    private let mappedByteCount: Int
    private var next = 0

    /// How many entries the ring has.
    public let capacity: Int

    /// A page: the slot, and its index in that slot.
    public struct Page: Hashable, Sendable {
        public let slot: UInt32
        public let index: UInt64

        public init(slot: UInt32, index: UInt64) {
            self.slot = slot
            self.index = index
        }
    }

    /// The size of an entry in bytes, for `KVMVirtualMachine.enable(.dirtyRing, …)`.
    public static let entryByteCount = 16

    init(descriptor: Int32, capacity: Int) throws(SystemError) {
        mappedByteCount = capacity * Self.entryByteCount
        var address: UnsafeMutableRawPointer?
        _ = try check(
            clinux_kvm_map(descriptor, UInt64(mappedByteCount), UInt64(KVM_DIRTY_LOG_PAGE_OFFSET), &address),
            "mmap dirty ring")
        guard let address else { throw SystemError(call: "mmap dirty ring", number: 12) }
        entries = address.bindMemory(to: kvm_dirty_gfn.self, capacity: capacity)
        self.capacity = capacity
    }

    deinit { _ = clinux_unmap(entries, mappedByteCount) }

    /// Takes at most `pages.count` entries; how many. The same page may come twice.
    public func take(into pages: inout MutableSpan<Page>) -> Int {
        var count = 0
        var position = next
        var slot: UInt32 = 0
        var index: UInt64 = 0
        while count < pages.count, clinux_kvm_take_dirty_page(entries + position, &slot, &index) == 1 {
            pages[count] = Page(slot: slot, index: index)
            count += 1
            position = position + 1 == capacity ? 0 : position + 1
        }
        next = position
        return count
    }
}
