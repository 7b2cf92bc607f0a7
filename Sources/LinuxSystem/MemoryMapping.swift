internal import CLinux
internal import Glibc

/// Which of `count` pages of 4 KiB from `start` on are zero: bit 0 is the first. The guest may write them meanwhile.
///
/// - Precondition: `start` begins a page, and `count` is at most 64.
public func zeroPages(at start: UnsafeRawPointer, count: Int) -> UInt64 {
    precondition(count >= 0 && count <= 64 && UInt(bitPattern: start) & 0xfff == 0, "\(count) pages at \(start)")
    return clinux_zero_pages(start, Int32(count))
}

/// A range of this process's memory with one owner, unmapped when that owner goes away.
///
/// Readable and writable, page aligned, zero at first. The address is for those who hand memory to the kernel (a memory
/// slot, a userfaultfd) or build typed access on it; they keep it no longer than the mapping lives.
public struct MemoryMapping: ~Copyable, Sendable {
    /// What backs a mapping.
    public enum Kind: Equatable, Sendable {
        /// Private memory, in 2 MiB pages where the kernel can (the fastest for a guest).
        case anonymous
        /// Private memory in pages of 4 KiB only.
        case anonymousSmallPages
        /// A memfd: other mappings and other processes can see the same pages.
        case shared
        /// A memfd of explicit huge pages (hugetlbfs) of this size: 2 MiB or 1 GiB.
        case hugePages(size: Int)
    }

    // Safe: an address is only a number here; every access happens through APIs that say who may touch the bytes.
    private nonisolated(unsafe) let start: UnsafeMutableRawPointer
    private nonisolated(unsafe) let reservation: UnsafeMutableRawPointer
    private let reservedByteCount: Int
    /// How much is mapped.
    public let byteCount: Int
    /// The size of the pages behind it: 4096, or that of the huge pages asked for.
    public let pageSize: Int
    /// The number of the memfd behind a shared mapping, -1 for private memory. Owned by the mapping.
    public let fileDescriptor: Int32

    /// The first byte.
    public var baseAddress: UnsafeMutableRawPointer { start }

    /// All bytes. Whoever uses them answers for their being written by the guest or the kernel meanwhile.
    public var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: byteCount) }

    /// Maps new memory of `byteCount` bytes, a multiple of the page size.
    ///
    /// The address is a multiple of 2 MiB (of the page size for larger ones), so that huge pages can be used and a guest
    /// address and its host address agree in their low bits. Nothing is populated: a page costs memory at first touch.
    /// `reservesMemory` counts private memory against the kernel's overcommit limit now, so that a lack of memory is an
    /// error here instead of a killed process later.
    ///
    /// - Throws: `SystemError` when the memory cannot be had: ENOMEM, also for missing huge pages.
    public init(_ kind: Kind, byteCount: Int, name: String = "memory", reservesMemory: Bool = false)
        throws(SystemError)
    {
        let huge: Int = if case .hugePages(let size) = kind { size } else { 0 }
        let pageSize = huge == 0 ? Int(clinux_page_size()) : huge
        precondition(byteCount > 0 && byteCount % pageSize == 0, "\(byteCount) bytes are no multiple of \(pageSize)")
        var number: Int32 = -1
        if kind == .shared || huge != 0 {
            let memory = OwnedDescriptor(adopting: try check(clinux_memfd(name, UInt64(huge)), "memfd_create", name))
            try memory.truncate(to: Int64(byteCount))
            _ = try check(clinux_seal_size(memory.number), "fcntl", name)
            number = memory.release()
        }
        try self.init(
            adopting: number, offset: 0, byteCount: byteCount, pageSize: pageSize, reservesMemory: reservesMemory)
        switch kind {
        case .anonymous: _ = clinux_advise(start, byteCount, Int32(CLINUX_ADVICE_HUGE_PAGES))
        case .anonymousSmallPages: _ = clinux_advise(start, byteCount, Int32(CLINUX_ADVICE_NO_HUGE_PAGES))
        case .shared: _ = clinux_advise(start, byteCount, Int32(CLINUX_ADVICE_HUGE_PAGES))
        case .hugePages: break
        }
    }

    /// Maps a part of a file or memfd that exists, shared: writes go to the file.
    ///
    /// `offset` and `byteCount` are multiples of `pageSize`.
    public init(
        file: consuming OwnedDescriptor, offset: Int64 = 0, byteCount: Int, pageSize: Int = 4096
    ) throws(SystemError) {
        precondition(byteCount > 0 && byteCount % pageSize == 0, "\(byteCount) bytes are no multiple of \(pageSize)")
        try self.init(
            adopting: file.release(), offset: offset, byteCount: byteCount, pageSize: pageSize, reservesMemory: true)
    }

    /// A second view of the same pages of a shared mapping: a page missing here may be there in the other view.
    public func secondView() throws(SystemError) -> MemoryMapping {
        precondition(fileDescriptor >= 0, "private memory has no second view")
        let copy = OwnedDescriptor(adopting: try check(clinux_duplicate(fileDescriptor), "fcntl"))
        return try MemoryMapping(file: copy, byteCount: byteCount, pageSize: pageSize)
    }

    private init(adopting number: Int32, offset: Int64, byteCount: Int, pageSize: Int, reservesMemory: Bool)
        throws(SystemError)
    {
        var address: UnsafeMutableRawPointer?
        var reserved: UnsafeMutableRawPointer?
        var reservedByteCount = 0
        let alignment = max(2 << 20, pageSize)
        var result = clinux_reserve(byteCount, alignment, &address, &reserved, &reservedByteCount)
        if result == 0 {
            result = clinux_map_over(address, number, byteCount, offset, reservesMemory ? 0 : 1)
            if result < 0 { _ = clinux_unmap(reserved, reservedByteCount) }
        }
        guard result == 0, let address, let reserved else {
            if number >= 0 { _ = clinux_close(number) }
            throw SystemError(call: "mmap", subject: "\(byteCount) bytes", number: -result)
        }
        start = address
        reservation = reserved
        self.reservedByteCount = reservedByteCount
        self.byteCount = byteCount
        self.pageSize = pageSize
        fileDescriptor = number
    }

    deinit {
        _ = clinux_unmap(reservation, reservedByteCount)
        if fileDescriptor >= 0 { _ = clinux_close(fileDescriptor) }
    }

    /// Gives the pages of a range back to the kernel; they read as zero afterwards, and are missing to a userfaultfd.
    ///
    /// `offset` and `count` are multiples of the page size. In a shared mapping the pages are gone for every view.
    public func discard(offset: Int, count: Int) throws(SystemError) {
        try advise(fileDescriptor < 0 ? CLINUX_ADVICE_DISCARD : CLINUX_ADVICE_REMOVE, offset: offset, count: count)
    }

    /// Drops this view's page table entries of a range without touching the pages of a shared mapping.
    public func unmapPages(offset: Int, count: Int) throws(SystemError) {
        try advise(CLINUX_ADVICE_DISCARD, offset: offset, count: count)
    }

    /// Faults every page of a range in, as if written.
    public func populate(offset: Int, count: Int) throws(SystemError) {
        try advise(CLINUX_ADVICE_POPULATE, offset: offset, count: count)
    }

    /// Allows or forbids 2 MiB pages for a range. Post-copy forbids them: a page must be missing alone.
    public func allowHugePages(_ allowed: Bool, offset: Int, count: Int) throws(SystemError) {
        try advise(
            allowed ? CLINUX_ADVICE_HUGE_PAGES : CLINUX_ADVICE_NO_HUGE_PAGES, offset: offset, count: count)
    }

    /// Whether the first page is locked in memory (mlock, mlockall): what is locked cannot be given back.
    public var isLocked: Bool {
        // Explicit huge pages are refused as well, and are never locked in this sense.
        if pageSize > 4096 { return false }
        do throws(SystemError) { try advise(CLINUX_ADVICE_COLD, offset: 0, count: 4096) } catch {
            return error.number == EINVAL
        }
        return false
    }

    /// Whether each page of a range is in memory, one entry per 4 KiB.
    public func residentPages(offset: Int, count: Int) throws(SystemError) -> [Bool] {
        precondition(offset >= 0 && count >= 0 && offset <= byteCount - count, "\(offset)+\(count) of \(byteCount)")
        var pages = [UInt8](repeating: 0, count: (count + 4095) / 4096)
        let result = pages.withUnsafeMutableBufferPointer { clinux_resident(start + offset, count, $0.baseAddress) }
        _ = try check(result, "mincore")
        return pages.map { $0 & 1 == 1 }
    }

    /// The pages of a range that were never touched, or were discarded: a bit for each 4 KiB. Private memory of such a page
    /// reads as zeros, but reading it costs a fault.
    ///
    /// A page that is written meanwhile may be taken for an untouched one. False if the kernel does not tell, or the memory
    /// is shared: others may have touched it.
    public func findUntouchedPages(offset: Int, count: Int, into words: inout [UInt64]) -> Bool {
        precondition(offset >= 0 && count >= 0 && offset <= byteCount - count, "\(offset)+\(count) of \(byteCount)")
        precondition(count <= words.count * 64 * 4096, "\(count) bytes in \(words.count) words")
        guard fileDescriptor < 0, Self.pageMap >= 0 else { return false }
        return words.withUnsafeMutableBufferPointer { words in
            clinux_untouched(Self.pageMap, start + offset, count / 4096, words.baseAddress) == 0
        }
    }

    /// What the kernel tells of this process's pages, for the rest of its life; -1 where it does not.
    private static let pageMap: Int32 = {
        do { return try OwnedDescriptor(opening: "/proc/self/pagemap", for: .reading).release() } catch { return -1 }
    }()

    private func advise(_ advice: some BinaryInteger, offset: Int, count: Int) throws(SystemError) {
        precondition(offset >= 0 && count >= 0 && offset <= byteCount - count, "\(offset)+\(count) of \(byteCount)")
        _ = try check(clinux_advise(start + offset, count, Int32(advice)), "madvise")
    }
}
