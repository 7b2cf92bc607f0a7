internal import CLinux
internal import Glibc

/// A folder of this process's own below /tmp, which goes away with this value.
///
/// It is locked as long as it is in use. A process that was killed leaves its folder behind, unlocked; the next one
/// of the same name clears it away.
public final class TemporaryFolder: Sendable {
    public let path: String
    private let lock: OwnedDescriptor

    /// Makes `/tmp/NAME-XXXXXX`, and removes others that are called so and that nobody uses any more.
    ///
    /// - Throws: `SystemError` when it cannot be made.
    public init(named name: String) throws(SystemError) {
        for other in FileSystem.names(in: "/tmp") ?? [] where other.hasPrefix("\(name)-") {
            let path = "/tmp/\(other)"
            let lock = clinux_lock_folder(path)
            guard lock >= 0 else { continue }
            Self.remove(path)
            _ = clinux_close(lock)
        }
        while true {
            let path = try Self.make(named: name)
            let lock = clinux_lock_folder(path)
            // Another process may have come between and have thought that it was left behind.
            if lock == -EAGAIN || lock == -ESTALE || lock == -ENOENT { continue }
            self.path = path
            self.lock = OwnedDescriptor(adopting: try check(lock, "flock", path))
            return
        }
    }

    deinit { Self.remove(path) }

    private static func make(named name: String) throws(SystemError) -> String {
        var template = Array("/tmp/\(name)-XXXXXX".utf8CString)
        // Safe: the array is never empty, it ends with a NUL.
        let isMade = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if !isMade { throw SystemError(call: "mkdtemp", subject: path, number: errno) }
        return path
    }

    private static func remove(_ path: String) {
        for name in FileSystem.names(in: path) ?? [] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    /// Where the file of this name is.
    public func file(_ name: String) -> String { "\(path)/\(name)" }
}
