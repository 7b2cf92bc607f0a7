public import LinuxSystem
internal import Synchronization

/// A named piece of guest memory: one host mapping, and which of its pages are dirty.
///
/// The name and the offsets inside the block are what a migration stream speaks of; where the guest sees the block is
/// the business of `GuestAddressSpace`. The bytes may change at any time by the guest's doing.
public final class RAMBlock: Sendable {
    /// The name in the stream: "microvm.ram".
    public let name: String
    /// A multiple of the page size.
    public let byteCount: Int
    /// Pages written since they were last taken, by whoever: the kernel's log is merged into it at each sync, and every
    /// write through this type marks it.
    public let dirtyBitmap: DirtyBitmap
    private let mapping: MemoryMapping
    private let memoryLock = Mutex<MemoryLock?>(nil)

    /// Makes a block of all of `mapping`, which lives as long as the block.
    ///
    /// - Precondition: the mapping's size is a multiple of the page size.
    public init(name: String, mapping: consuming MemoryMapping) {
        precondition(mapping.byteCount % pageSize == 0, "RAM block \(name) has \(mapping.byteCount) bytes")
        self.name = name
        byteCount = mapping.byteCount
        dirtyBitmap = DirtyBitmap(pageCount: mapping.byteCount / pageSize)
        self.mapping = mapping
    }

    public var pageCount: Int { dirtyBitmap.pageCount }
    /// Bytes of the host's pages behind the block: 4096, or those of explicit huge pages.
    public var hostPageByteCount: Int { mapping.pageSize }
    /// Whether the memory is a file in memory that can have a second view.
    public var isShared: Bool { mapping.fileDescriptor >= 0 }
    public var allPages: PageRange { PageRange(first: PageIndex(0), pageCount: pageCount) }

    /// Where the block lies in this process: for memory slots, userfaultfd and vectors of system calls, whose memory
    /// the block keeps alive. Nothing is ever loaded from it directly.
    public var hostAddress: UnsafeMutableRawPointer { mapping.baseAddress }

    /// The bytes `blockOffset ..< blockOffset + byteCount`, for a system call that fills or sends them.
    ///
    /// The guest may change them meanwhile. A caller that fills them marks them dirty afterwards with `markDirty`.
    ///
    /// - Precondition: the range lies inside the block.
    public func bytes(at blockOffset: Int, count: Int) -> UnsafeMutableRawBufferPointer {
        precondition(
            blockOffset >= 0 && count >= 0 && count <= byteCount - blockOffset,
            "bytes \(blockOffset) + \(count) of RAM block \(name), which has \(byteCount)")
        return UnsafeMutableRawBufferPointer(start: hostAddress + blockOffset, count: count)
    }

    /// Copies bytes out of the block.
    public func read(at blockOffset: Int, into buffer: UnsafeMutableRawBufferPointer) {
        buffer.copyMemory(from: UnsafeRawBufferPointer(bytes(at: blockOffset, count: buffer.count)))
    }

    /// Copies bytes into the block and marks their pages.
    public func write(_ source: UnsafeRawBufferPointer, at blockOffset: Int) {
        bytes(at: blockOffset, count: source.count).copyMemory(from: source)
        markDirty(at: blockOffset, byteCount: source.count)
    }

    /// Marks the pages of bytes that were written otherwise. Called after the bytes are there.
    public func markDirty(at blockOffset: Int, byteCount: Int) {
        dirtyBitmap.mark(PageRange(touching: blockOffset, byteCount: byteCount))
    }

    /// The pages of `range`, a bit each, that read as zeros because nobody ever touched them, or as they were discarded.
    /// False if that cannot be told.
    ///
    /// A write at the same time may be missed, as by a read at this time: who clears the dirty log before sees it there.
    public func findUntouchedPages(_ range: PageRange, into words: inout [UInt64]) -> Bool {
        mapping.findUntouchedPages(offset: range.blockOffset, count: range.byteCount, into: &words)
    }

    /// Gives the memory of `range` back to the host; the pages read as zero afterwards and are not marked dirty.
    ///
    /// - Throws: `SystemError` if the kernel refuses; the pages may then be unchanged.
    public func discard(_ range: PageRange) throws(SystemError) {
        precondition(range.end.value <= pageCount, "pages to \(range.end.value) of \(pageCount)")
        try mapping.discard(offset: range.blockOffset, count: range.byteCount)
    }

    /// Allows or forbids the kernel to use 2 MiB pages of its own accord; nothing for memory that never has them.
    public func allowHugePages(_ allowed: Bool) throws(SystemError) {
        if hostPageByteCount == pageSize { try mapping.allowHugePages(allowed, offset: 0, count: byteCount) }
    }

    /// Whether the process has its memory locked: then no page of it can be dropped.
    public var isLocked: Bool { mapping.isLocked }

    /// Another mapping of the same pages.
    ///
    /// - Precondition: the block is shared.
    public func secondView() throws(SystemError) -> MemoryMapping { try mapping.secondView() }

    /// Says which process may run the guest, once the memory was handed over; nil before.
    public internal(set) var lock: MemoryLock? {
        get { memoryLock.withLock { $0 } }
        set { memoryLock.withLock { $0 = newValue } }
    }

    func duplicateFile() throws(SystemError) -> OwnedDescriptor { try mapping.duplicateFile() }
    func replacePages(with file: borrowing OwnedDescriptor) throws(SystemError) { try mapping.replace(with: file) }
    func renewPages() throws(SystemError) { try mapping.renew() }
}
