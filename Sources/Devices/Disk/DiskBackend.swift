public import GuestMemory
public import LinuxSystem

/// What is behind a disk: a file, a block device, a network.
///
/// Called on the disk's thread, one call at a time; calls may wait. Offsets and sizes are in bytes and multiples of 512;
/// the disk has checked that they lie inside `byteCount`. A failed call may have done a part of its work.
public protocol DiskBackend: AnyObject, Sendable {
    /// The size, a multiple of 512. It does not change while a guest uses the disk.
    var byteCount: Int64 { get }
    var isReadOnly: Bool { get }

    /// Fills `slices`, one after another, from `offset` on. The caller marks them dirty.
    func read(into slices: [GuestMemorySlice], at offset: Int64) throws(SystemError)
    /// Writes `slices`, one after another, from `offset` on.
    func write(_ slices: [GuestMemorySlice], at offset: Int64) throws(SystemError)
    /// Returns when every write that returned before is on stable storage.
    func flush() throws(SystemError)
    /// Says that the contents of a range are of no more interest.
    func discard(at offset: Int64, byteCount: Int64) throws(SystemError)
    /// Makes a range read as zeros, perhaps giving up its storage.
    func writeZeroes(at offset: Int64, byteCount: Int64, mayUnmap: Bool) throws(SystemError)
}
