public import Devices
public import GuestMemory
public import LinuxSystem
public import Migration
internal import Synchronization

/// A raw disk image with its lock: the backend of a guest's disk, and what a migration hands over of it.
///
///     made --takeLock--> held --releaseLock--> given up --takeLock--> held ...
///
/// Nothing is read before the lock is held, and everything is written out before it is given up.
public final class DiskImage: DiskBackend, MigratableDisk {
    private let disk: RawDisk
    private let lock: ImageLock
    private let isHeld = Mutex(false)

    /// Opens the image at `path` without taking its lock.
    public init(path: String, isReadOnly: Bool = false) throws(SystemError) {
        disk = try RawDisk(path: path, isReadOnly: isReadOnly)
        lock = isReadOnly ? .reading : .writing
    }

    public var name: String { disk.path }
    public var path: String { disk.path }
    public var byteCount: Int64 { disk.byteCount }
    public var isReadOnly: Bool { disk.isReadOnly }
    public var isBlockDevice: Bool { disk.isBlockDevice }
    /// The space the image takes on its own disk, in bytes; nil when the kernel does not tell.
    public var allocatedByteCount: Int64? { disk.descriptor.allocatedByteCount }
    /// Whether the lock is held here.
    public var isLocked: Bool { isHeld.withLock { $0 } }

    public func takeLock() throws {
        try isHeld.withLock { isHeld in
            if isHeld { return }
            try lock.take(of: disk.descriptor, path: disk.path)
            // Another host has written meanwhile: what is cached here is old.
            disk.descriptor.dropCache()
            isHeld = true
        }
    }

    public func releaseLock() throws {
        try isHeld.withLock { isHeld in
            guard isHeld else { return }
            if !isReadOnly { try disk.flush() }
            try ImageLock.release(disk.descriptor)
            isHeld = false
        }
    }

    public func read(into slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        try disk.read(into: slices, at: offset)
    }

    public func write(_ slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        try disk.write(slices, at: offset)
    }

    public func flush() throws(SystemError) {
        try disk.flush()
    }

    public func discard(at offset: Int64, byteCount: Int64) throws(SystemError) {
        try disk.discard(at: offset, byteCount: byteCount)
    }

    public func writeZeroes(at offset: Int64, byteCount: Int64, mayUnmap: Bool) throws(SystemError) {
        try disk.writeZeroes(at: offset, byteCount: byteCount, mayUnmap: mayUnmap)
    }
}
