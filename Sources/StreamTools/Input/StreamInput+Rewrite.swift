import MigrationStream

extension StreamInput {
    /// Writes `byteCount` bytes over the first unread ones, and says whether that changes them.
    ///
    /// `scratch` is memory to keep from one call to the next.
    mutating func replaceUnread(
        _ byteCount: Int, scratch: inout [UInt8], _ write: (inout StreamWriter) -> Void
    ) -> Bool {
        if scratch.count < byteCount { scratch = [UInt8](repeating: 0, count: byteCount) }
        var elements = scratch.mutableSpan
        var writer = StreamWriter(elements.mutableBytes)
        write(&writer)
        precondition(writer.byteCount == byteCount, "\(writer.byteCount) bytes instead of \(byteCount)")
        let range = start..<(start + byteCount)
        let encoded = scratch.span.bytes.extracting(0..<byteCount)
        if storage.span.bytes.extracting(range).equals(encoded) { return false }
        storage.replaceSubrange(range, with: scratch[..<byteCount])
        return true
    }

    /// What kind of channel it is, told by the first bytes. Nothing is taken.
    mutating func channelKind() throws -> ChannelKind {
        let missing = ChannelKind.neededByteCount - unreadByteCount
        if missing > 0, !hasEnded { try fill(atLeast: missing) }
        guard let kind = ChannelKind(beginning: unread) else {
            throw UnknownChannel(beginning: unread.copy(0..<min(8, unreadByteCount)))
        }
        return kind
    }
}

/// Bytes that begin no channel of a migration.
public struct UnknownChannel: Error, Equatable, CustomStringConvertible {
    /// The first bytes, at most eight.
    public let beginning: [UInt8]

    public var description: String {
        if beginning.isEmpty { return "It is empty." }
        let digits = beginning.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
        return "It begins with \(digits), as no channel of a migration does; a main channel begins with 51 45 56 4d."
    }
}
