/// Cuts the return path into messages. The caller holds the bytes, as with `StreamDecoder`.
public struct ReturnPathDecoder: Sendable {
    /// What a decoder has to say about the bytes that it was given.
    public enum Step: Equatable, Sendable {
        /// A message, and how many bytes it took.
        case message(ReturnPathMessage, byteCount: Int)
        /// At least this many more bytes are needed.
        case needsMore(byteCount: Int)
        /// The bytes ended between two messages.
        case finished
    }

    /// The bounds that lengths are held against.
    public let limits: StreamLimits
    /// The absolute offset of the next message.
    public private(set) var offset: Int

    /// A decoder at the beginning of a return path; `offset` is what messages count from.
    public init(offset: Int = 0, limits: StreamLimits = StreamLimits()) {
        self.offset = offset
        self.limits = limits
    }

    /// Decodes the message at the beginning of `bytes`, all unread bytes; `ended` says that none will follow them.
    ///
    /// - Throws: `StreamError` when the bytes are no message, or `ended` and there is too little of one.
    public mutating func next(in bytes: RawSpan, ended: Bool) throws(StreamError) -> Step {
        if bytes.isEmpty { return ended ? .finished : .needsMore(byteCount: 1) }
        var reader = StreamReader(bytes, baseOffset: offset)
        let message: ReturnPathMessage
        do {
            message = try decode(&reader)
        } catch .truncated(_, _, let missing) where !ended {
            return .needsMore(byteCount: missing)
        }
        offset += reader.position
        return .message(message, byteCount: reader.position)
    }

    @_lifetime(reader: copy reader)
    private func decode(_ reader: inout StreamReader) throws(StreamError) -> ReturnPathMessage {
        let typeOffset = reader.offset
        let type = try reader.readUInt16("a message's type")
        let additions = [PeerGreeting.refusalMessage, PeerGreeting.arrivalMessage]
        guard (1...7).contains(type) || additions.contains(type) else {
            throw .unknownMessage(offset: typeOffset, found: type)
        }
        let length = Int(try reader.readUInt16("a message's length"))
        try checkLength(length, type: type, offset: typeOffset + 2)
        switch type {
        case 1: return .shut(try reader.readUInt32("shut"))
        case 2: return .pong(try reader.readUInt32("pong"))
        case 3, 4: return .pageRequest(try decodeRequest(&reader, hasBlock: type == 3, length: length))
        case 5: return try decodeBitmap(&reader, length: length)
        case 6: return .resumeAcknowledged(try reader.readUInt32("resume acknowledgement"))
        case 7: return .switchoverAcknowledged
        case PeerGreeting.refusalMessage: return .refusal(try reader.readText(length, "refusal"))
        default:
            let resume = try reader.readUInt64("arrival")
            return .arrival(resumeNanoseconds: resume, announceNanoseconds: try reader.readUInt64("arrival"))
        }
    }

    private func checkLength(_ length: Int, type: UInt16, offset: Int) throws(StreamError) {
        let fixed: Int? =
            switch type {
            case 1, 2, 6: 4
            case 4: 12
            case 7: 0
            case PeerGreeting.arrivalMessage: 16
            default: nil
            }
        if let fixed, length != fixed {
            throw .unexpectedValue(
                field: "length of message \(type)", offset: offset, expected: UInt64(fixed), found: UInt64(length))
        }
        guard length <= limits.maximumMessageByteCount else {
            throw .limitExceeded(
                field: "length of message \(type)", offset: offset, limit: limits.maximumMessageByteCount,
                found: UInt64(length))
        }
    }

    @_lifetime(reader: copy reader)
    private func decodeRequest(
        _ reader: inout StreamReader, hasBlock: Bool, length: Int
    ) throws(StreamError) -> PageRequest {
        let start = reader.offset
        let blockOffset = try reader.readUInt64("a page request")
        let byteCount = try reader.readUInt32("a page request")
        guard hasBlock else { return PageRequest(block: nil, blockOffset: blockOffset, byteCount: byteCount) }
        let block = try decodeName(&reader, byteCount: length - 12, lengthOffset: start - 2)
        return PageRequest(block: block, blockOffset: blockOffset, byteCount: byteCount)
    }

    /// Reads a block's name that fills `byteCount` bytes with its own length.
    @_lifetime(reader: copy reader)
    private func decodeName(
        _ reader: inout StreamReader, byteCount: Int, lengthOffset: Int
    ) throws(StreamError) -> String {
        let nameOffset = reader.offset
        let length = try reader.readUInt8("a block's name")
        guard Int(length) + 1 == byteCount else {
            throw .unexpectedValue(
                field: "length of a block's name", offset: nameOffset, expected: UInt64(clamping: byteCount - 1),
                found: UInt64(length))
        }
        return try reader.readText(Int(length), "block's name")
    }

    @_lifetime(reader: copy reader)
    private func decodeBitmap(_ reader: inout StreamReader, length: Int) throws(StreamError) -> ReturnPathMessage {
        let block = try decodeName(&reader, byteCount: length, lengthOffset: reader.offset - 2)
        let sizeOffset = reader.offset
        let size = try reader.readUInt64("size of the bitmap of \(block)")
        guard size <= UInt64(limits.maximumBitmapByteCount), size % 8 == 0 else {
            throw .limitExceeded(
                field: "size of the bitmap of \(block)", offset: sizeOffset, limit: limits.maximumBitmapByteCount,
                found: size)
        }
        let bitmap = try reader.readRange(Int(size), "bitmap of \(block)")
        try reader.expectUInt64(ReturnPathMessage.bitmapEndMark, "end mark of the bitmap of \(block)")
        return .receivedBitmap(block: block, bitmap: bitmap)
    }
}
