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
    private let state: Mutex<State>

    private struct State {
        var isHeld = false
        /// Whether another may have written since this side last looked.
        var wasElsewhere: Bool
    }

    /// Opens the image at `path` without taking its lock.
    ///
    /// - Parameter isElsewhere: Whether another uses it until the lock is taken: the source of a migration.
    public init(path: String, isReadOnly: Bool = false, isElsewhere: Bool = false) throws(SystemError) {
        state = Mutex(State(wasElsewhere: isElsewhere))
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
    public var isLocked: Bool { state.withLock { $0.isHeld } }

    public func takeLock() throws {
        try state.withLock { state in
            if state.isHeld { return }
            try lock.take(of: disk.descriptor, path: disk.path)
            // Another host may have written meanwhile: what is cached here is old.
            if state.wasElsewhere { disk.descriptor.dropCache() }
            state.isHeld = true
        }
    }

    public func releaseLock() throws {
        try state.withLock { state in
            guard state.isHeld else { return }
            if !isReadOnly { try disk.flush() }
            try ImageLock.release(disk.descriptor)
            state = State(isHeld: false, wasElsewhere: true)
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
