internal import CLinux

/// A terminal that this process is the other end of; who opens `path` talks to it.
///
/// In raw mode: bytes pass as they are. Its own end stays open here as well, so that nobody's leaving ends the line.
public struct PseudoTerminal: ~Copyable, Sendable {
    /// "/dev/pts/3".
    public let path: String
    /// What is written here is read at `path`, and the other way round.
    public let descriptor: OwnedDescriptor
    private let other: OwnedDescriptor

    public init() throws(SystemError) {
        var bytes = [CChar](repeating: 0, count: 128)
        var end: Int32 = -1
        descriptor = OwnedDescriptor(
            adopting: try check(clinux_pseudo_terminal(&bytes, bytes.count, &end), "open pseudo-terminal"))
        other = OwnedDescriptor(adopting: end)
        path = String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
