public import MigrationStream

/// What a decoder said about the bytes that it was given.
public enum ChannelStep {
    /// An element; the bytes that it took, and the same written again.
    case element(byteCount: Int, written: [UInt8])
    case needsMore
    case finished
    case refused(StreamError)
}

/// Feeds `bytes` to `decode` in pieces of `chunk` bytes until it is finished or refuses them.
///
/// Traps when an element is not written again as it was read, or no progress is made. Calls the decoder no more
/// often than its answers allow, so a decoder that hangs shows as libFuzzer's time-out.
public func run(_ bytes: [UInt8], chunk: Int, _ decode: (RawSpan, Bool) -> ChannelStep) {
    var position = 0
    var available = min(chunk, bytes.count)
    var wasEmpty = false
    while true {
        let unread = bytes.span.bytes.extracting(position..<available)
        switch decode(unread, available == bytes.count) {
        case .element(let byteCount, let written):
            precondition(byteCount >= 0 && byteCount <= unread.byteCount, "an element of \(byteCount) bytes")
            // A device may have no state; its footer comes next.
            precondition(byteCount > 0 || !wasEmpty, "two empty elements at \(position)")
            wasEmpty = byteCount == 0
            precondition(Array(bytes[position..<(position + byteCount)]) == written, "differs at \(position)")
            position += byteCount
        case .needsMore:
            precondition(available < bytes.count, "asks for more at the end")
            available = min(bytes.count, available + chunk)
        case .finished:
            precondition(position == bytes.count, "finished at \(position) of \(bytes.count)")
            return
        case .refused(let error):
            precondition(error.offset >= 0 && !error.description.isEmpty, "\(error)")
            return
        }
    }
}

/// The bytes that `body` writes, which are exactly `byteCount`.
public func write(byteCount: Int, _ body: (inout StreamWriter) -> Void) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    var span = bytes.mutableSpan
    var writer = StreamWriter(span.mutableBytes)
    body(&writer)
    precondition(writer.byteCount == byteCount, "\(writer.byteCount) of \(byteCount) bytes")
    return bytes
}

/// libFuzzer's input: the first byte chooses how the rest is fed.
public struct FuzzInput {
    /// The low bits choose a kind of stream, the high ones the size of the pieces.
    public let choice: UInt8
    public let bytes: [UInt8]

    public init?(_ start: UnsafePointer<UInt8>?, _ count: Int) {
        guard let start, count > 0 else { return nil }
        choice = start[0]
        bytes = Array(UnsafeBufferPointer(start: start + 1, count: count - 1))
    }

    /// Bytes that become available at once.
    public var chunk: Int { [1 << 30, 4096, 61, 1][Int(choice >> 6)] }
}
