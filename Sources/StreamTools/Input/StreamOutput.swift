public import LinuxSystem

/// Where the bytes of a stream go: a file, a pipe or a socket.
public struct StreamOutput: ~Copyable {
    private let descriptor: OwnedDescriptor
    private let isSocket: Bool

    /// Writes to a file or pipe, which is widened.
    public init(adopting descriptor: consuming OwnedDescriptor) {
        descriptor.widenPipe(to: StreamInput.readByteCount)
        self.descriptor = descriptor
        isSocket = false
    }

    /// Writes to a socket.
    init(socket descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
        isSocket = true
    }

    /// Writes all of `bytes`.
    func write(_ bytes: RawSpan) throws(SystemError) {
        if isSocket { try descriptor.send(all: bytes) } else { try descriptor.write(all: bytes) }
    }
}
