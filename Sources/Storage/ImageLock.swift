internal import LinuxSystem

/// Who uses a disk image, told by locks on bytes of the file as QEMU does: a QEMU and Apus keep off each other's images.
///
/// Nobody reads or writes these bytes; a lock on one says something. All locks are shared, so that several may say the
/// same, and belong to the open file (F_OFD_SETLK), so that they end with it.
///
///     byte 100 + p   somebody has permission p: 0 reads consistent data, 1 writes, 2 writes the same again, 3 resizes
///     byte 200 + p   somebody lets nobody else have permission p
///
/// One who uses an image with permissions P, and does not share U, locks 100 + P and 200 + U, then looks whether another
/// holds 200 + P or 100 + U. Two who come at once may both give way; neither takes what the other has.
/// See QEMU block/file-posix.c, raw_apply_lock_bytes and raw_check_lock_bytes.
struct ImageLock: Equatable, Sendable {
    /// Permissions that are used.
    let permissions: Set<Int64>
    /// Permissions that nobody else may have.
    let unshared: Set<Int64>

    /// What QEMU's virtio-blk uses an image with.
    static let writing = ImageLock(permissions: [0, 1], unshared: [1])
    static let reading = ImageLock(permissions: [0], unshared: [1])

    private static let permissionBase: Int64 = 100
    private static let unsharedBase: Int64 = 200
    /// Every byte that means something.
    private static let allBytes: [Range<Int64>] = [100..<104, 200..<204]

    /// Locks `file`, or throws and leaves it unlocked.
    func take(of file: borrowing OwnedDescriptor, path: String) throws {
        do {
            for permission in permissions { try file.lockShared(byte(Self.permissionBase, permission)) }
            for permission in unshared { try file.lockShared(byte(Self.unsharedBase, permission)) }
            for permission in permissions where try file.isLockedElsewhere(byte(Self.unsharedBase, permission)) {
                throw ImageLockError.notShared(path: path, permission: Self.name(permission))
            }
            for permission in unshared where try file.isLockedElsewhere(byte(Self.permissionBase, permission)) {
                throw ImageLockError.inUse(path: path, permission: Self.name(permission))
            }
        } catch {
            for bytes in Self.allBytes { try? file.unlock(bytes) }
            throw error
        }
    }

    /// Gives all locks of `file` up.
    static func release(_ file: borrowing OwnedDescriptor) throws(SystemError) {
        for bytes in allBytes { try file.unlock(bytes) }
    }

    private func byte(_ base: Int64, _ permission: Int64) -> Range<Int64> { base + permission..<base + permission + 1 }

    private static func name(_ permission: Int64) -> String {
        ["read", "written", "rewritten", "resized"][Int(permission)]
    }
}

/// Why an image cannot be used now.
public enum ImageLockError: Error, Equatable, CustomStringConvertible {
    /// Another lets nobody do what is wanted.
    case notShared(path: String, permission: String)
    /// Another does what must not be done meanwhile.
    case inUse(path: String, permission: String)

    public var description: String {
        switch self {
        case .notShared(let path, let permission):
            "The disk image \(path) is in use by another process, which does not let it be \(permission)."
        case .inUse(let path, let permission): "The disk image \(path) is being \(permission) by another process."
        }
    }
}
