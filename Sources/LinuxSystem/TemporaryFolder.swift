internal import Glibc

/// A folder of this process's own below /tmp, which goes away with this value.
public final class TemporaryFolder: Sendable {
    public let path: String

    /// - Throws: `SystemError` when it cannot be made.
    public init(named name: String) throws(SystemError) {
        var template = Array("/tmp/\(name)-XXXXXX".utf8CString)
        // Safe: the array is never empty, it ends with a NUL.
        let isMade = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if !isMade { throw SystemError(call: "mkdtemp", subject: path, number: errno) }
    }

    deinit {
        for name in FileSystem.names(in: path) ?? [] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    /// Where the file of this name is.
    public func file(_ name: String) -> String { "\(path)/\(name)" }
}
