internal import CLinux
internal import Glibc

/// What a disk image needs of its file or block device.
extension OwnedDescriptor {
    /// Reads into `buffers` one after another, from `offset` on; how many bytes came, 0 at the end of the file.
    public func read(into buffers: [UnsafeMutableRawBufferPointer], at offset: Int64) throws(SystemError) -> Int {
        let vectors = buffers.map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
        return try check(clinux_preadv(number, vectors, Int32(vectors.count), offset), "preadv")
    }

    /// Writes `buffers` one after another, from `offset` on; how many bytes went.
    public func write(_ buffers: [UnsafeMutableRawBufferPointer], at offset: Int64) throws(SystemError) -> Int {
        let vectors = buffers.map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
        return try check(clinux_pwritev(number, vectors, Int32(vectors.count), offset), "pwritev")
    }

    /// Waits until everything written is on stable storage.
    public func synchronizeData() throws(SystemError) { _ = try check(clinux_fdatasync(number), "fdatasync") }

    /// The size of a block device, nil for anything else.
    public var blockDeviceSize: Int64? {
        let size = clinux_block_device_size(number)
        return size >= 0 ? size : nil
    }

    /// Gives up the storage of a range; what it reads as afterwards is unknown.
    public func discard(at offset: Int64, byteCount: Int64) throws(SystemError) {
        _ = try check(clinux_discard(number, offset, byteCount), "fallocate")
    }

    /// Makes a range read as zeros; `mayUnmap` allows giving up its storage.
    public func writeZeroes(at offset: Int64, byteCount: Int64, mayUnmap: Bool) throws(SystemError) {
        _ = try check(clinux_write_zeroes(number, offset, byteCount, mayUnmap ? 1 : 0), "fallocate")
    }

    /// Holds a shared lock on bytes of the file, for this open file: other opens of it, here or elsewhere, see it.
    public func lockShared(_ bytes: Range<Int64>) throws(SystemError) {
        _ = try check(clinux_lock_shared(number, bytes.lowerBound, bytes.upperBound - bytes.lowerBound), "lock")
    }

    public func unlock(_ bytes: Range<Int64>) throws(SystemError) {
        _ = try check(clinux_unlock(number, bytes.lowerBound, bytes.upperBound - bytes.lowerBound), "unlock")
    }

    /// Whether another open of the file has a lock on any of the bytes.
    public func isLockedElsewhere(_ bytes: Range<Int64>) throws(SystemError) -> Bool {
        try check(clinux_is_locked(number, bytes.lowerBound, bytes.upperBound - bytes.lowerBound), "look for locks")
            == 1
    }

    /// Forgets what the host has read of the file, so that it is read anew.
    public func dropCache() { _ = clinux_drop_cache(number) }

    /// The space the file takes on its disk, in bytes; nil when the kernel does not tell.
    public var allocatedByteCount: Int64? {
        let count = clinux_allocated_bytes(number)
        return count >= 0 ? count : nil
    }
}
