internal import CLinux
internal import Glibc

/// Handing memory over to another process of this host.
extension MemoryMapping {
    /// The memfd behind a shared mapping, for a process that is to have the same pages.
    ///
    /// - Precondition: the mapping is shared.
    public func duplicateFile() throws(SystemError) -> OwnedDescriptor {
        precondition(fileDescriptor >= 0, "private memory has no file")
        return OwnedDescriptor(adopting: try check(clinux_duplicate(fileDescriptor), "fcntl"))
    }

    /// Shows the pages of another memfd at the same addresses; what was here is gone, unless others have it too.
    ///
    /// KVM's memory slots and every pointer stay valid. The memfd is to be of the same kind and size: see `MemoryFile`.
    ///
    /// - Precondition: the mapping is shared.
    public func replace(with file: borrowing OwnedDescriptor) throws(SystemError) {
        precondition(fileDescriptor >= 0, "private memory is not replaced")
        _ = try check(clinux_map_over(baseAddress, file.number, byteCount, 0, 0), "mmap", "\(byteCount) bytes")
        _ = try check(clinux_replace_descriptor(file.number, fileDescriptor), "dup3")
        if pageSize == Int(clinux_page_size()) {
            _ = clinux_advise(baseAddress, byteCount, Int32(CLINUX_ADVICE_HUGE_PAGES))
        }
    }

    /// Shows new pages of the same kind, which are zero.
    ///
    /// - Precondition: the mapping is shared.
    public func renew() throws(SystemError) {
        let huge = pageSize == Int(clinux_page_size()) ? 0 : pageSize
        let memory = OwnedDescriptor(adopting: try check(clinux_memfd("memory", UInt64(huge)), "memfd_create"))
        try memory.truncate(to: Int64(byteCount))
        _ = try check(clinux_seal_size(memory.number), "fcntl")
        try replace(with: memory)
    }
}

/// What a descriptor of memory that came from elsewhere is.
public struct MemoryFile: Equatable, Sendable {
    public let byteCount: Int
    /// 4096, or that of explicit huge pages.
    public let pageSize: Int
    /// Sealed: nobody can take pages away under those who have mapped it.
    public let cannotShrink: Bool

    /// Nil if the descriptor is no memfd.
    public init?(_ descriptor: borrowing OwnedDescriptor) {
        var size: Int64 = 0
        var page: Int64 = 0
        var sealed: Int32 = 0
        guard clinux_memory_file(descriptor.number, &size, &page, &sealed) == 0 else { return nil }
        byteCount = Int(size)
        pageSize = Int(page)
        cannotShrink = sealed != 0
    }
}

extension OwnedDescriptor {
    /// The same file opened once more: locks are held by open files, not by copies of a descriptor.
    public func reopen() throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor(opening: "/proc/self/fd/\(number)", for: .readingAndWriting)
    }

    /// Holds bytes of the file for this open file alone; false if another open file holds some of them.
    public func lockExclusive(_ bytes: Range<Int64>) throws(SystemError) -> Bool {
        let result = clinux_lock_exclusive(number, bytes.lowerBound, bytes.upperBound - bytes.lowerBound)
        if result == -EAGAIN || result == -EACCES { return false }
        _ = try check(result, "lock")
        return true
    }

    /// When the file was last modified, in nanoseconds of the wall clock. Stores to a mapping of it do not count.
    public func modificationTime() throws(SystemError) -> Int64 {
        var nanoseconds: Int64 = 0
        _ = try check(clinux_modification_time(number, &nanoseconds), "fstat")
        return nanoseconds
    }

    /// Makes now the time of the last modification.
    public func touch() throws(SystemError) { _ = try check(clinux_touch(number), "futimens") }
}
