import MigrationStream

/// What a recorded file or pipe holds, told by its first bytes.
public enum ChannelKind: String, Sendable, CaseIterable {
    /// A main channel, from its header on.
    case migration
    /// The main channel of a recovery: it has no header and begins with a command.
    case recovery
    /// A preempt channel: page records without sections.
    case preempt
    /// A multifd channel.
    case multifd
    /// What the destination sends.
    case returnPath = "return-path"

    /// What a stream decoder must be told; nil for channels that it does not decode.
    var streamKind: StreamOptions.Kind? {
        switch self {
        case .migration: .migration
        case .recovery: .recovery
        case .preempt: .preempt
        case .multifd, .returnPath: nil
        }
    }

    /// The bytes that are needed to tell.
    public static let neededByteCount = 8

    /// The kind of a channel that begins with `bytes`, nil if it is none.
    ///
    /// A page record begins with the 64-bit offset of a page, whose upper bits are zero for any memory of less than
    /// 256 TiB; a message of the return path begins with its type, which is not zero.
    public init?(beginning bytes: RawSpan) {
        guard bytes.byteCount >= 4 else { return nil }
        let word = bytes.bigEndianUInt32(at: 0)
        if word == migrationStreamMagic {
            self = .migration
        } else if word == MultifdHello.magic {
            self = .multifd
        } else if word >> 16 == 0x0800 {
            self = .recovery
        } else if (1...7).contains(word >> 16) {
            self = .returnPath
        } else if bytes.byteCount >= 8, word >> 16 == 0 {
            let header = RAMPageHeader(word: UInt64(word) << 32 | UInt64(bytes.bigEndianUInt32(at: 4)))
            guard header.kind != nil, header.kind != .blockList else { return nil }
            self = .preempt
        } else {
            return nil
        }
    }
}

extension RawSpan {
    /// The big-endian 32-bit integer at `offset`.
    func bigEndianUInt32(at offset: Int) -> UInt32 {
        // Safe: bounds checked, any alignment, every bit pattern is an integer.
        UInt32(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// Whether these bytes are those of `other`.
    func equals(_ other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        var offset = 0
        while offset + 8 <= byteCount {
            // Safe: bounds checked, any alignment, every bit pattern is an integer.
            let left = unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
            if left != other.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self) { return false }
            offset += 8
        }
        while offset < byteCount {
            let left = unsafeLoad(fromByteOffset: offset, as: UInt8.self)
            if left != other.unsafeLoad(fromByteOffset: offset, as: UInt8.self) { return false }
            offset += 1
        }
        return true
    }

    /// A copy of the bytes of `range`.
    func copy(_ range: Range<Int>) -> [UInt8] { extracting(range).withUnsafeBytes { Array($0) } }
}
