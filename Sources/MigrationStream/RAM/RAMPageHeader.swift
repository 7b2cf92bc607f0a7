/// The flags in the low 12 bits of a RAM record's first word.
public struct RAMRecordFlags: OptionSet, Equatable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// A page whose bytes are all the same; the byte follows.
    public static let zero = RAMRecordFlags(rawValue: 0x002)
    /// The block list; the address is the blocks' total size.
    public static let memorySize = RAMRecordFlags(rawValue: 0x004)
    /// A page, its bytes follow.
    public static let page = RAMRecordFlags(rawValue: 0x008)
    /// The end of this section's records.
    public static let endOfSection = RAMRecordFlags(rawValue: 0x010)
    /// Modifier of a page: no name follows, the block is that of the record before.
    public static let continuesBlock = RAMRecordFlags(rawValue: 0x020)
    /// A page as changes to its last version.
    public static let xbzrle = RAMRecordFlags(rawValue: 0x040)
    /// RDMA's mark that control messages follow outside of the stream.
    public static let hook = RAMRecordFlags(rawValue: 0x080)
    /// A page as a zlib stream (QEMU before 9.1).
    public static let compressedPage = RAMRecordFlags(rawValue: 0x100)
    /// The source has flushed all multifd channels (QEMU since 8.1).
    public static let multifdFlush = RAMRecordFlags(rawValue: 0x200)
}

/// The first word of a RAM record: where a page lies in its block, and what follows.
///
///     offset  size  field
///          0     8  address | flags, big-endian; flags are the low 12 bits
///          8     1  length of the block's name, absent if `continuesBlock`
///          9     n  name, ASCII
///
/// See QEMU migration/ram.c, save_page_header. A loader can read these 8 bytes, then the name, and receive the page
/// straight into guest memory.
public struct RAMPageHeader: Equatable, Sendable {
    /// The word as it is on the wire, in host order.
    public var word: UInt64

    /// The bytes of the word itself.
    public static let byteCount = 8

    /// The header with this word.
    public init(word: UInt64) { self.word = word }

    /// The header of a page at `blockOffset`, which is a multiple of 4096, or of a record with `flags` alone.
    public init(blockOffset: Int, flags: RAMRecordFlags) {
        precondition(blockOffset >= 0 && blockOffset & 0xfff == 0, "block offset \(blockOffset)")
        word = UInt64(blockOffset) | flags.rawValue
    }

    /// The bits above the flags: an offset in a block, or for the block list a size.
    public var address: UInt64 { word & ~0xfff }

    /// The flags.
    public var flags: RAMRecordFlags { RAMRecordFlags(rawValue: word & 0xfff) }

    /// What kind of record this begins, nil if the flags are none that QEMU writes.
    public var kind: RAMRecordKind? {
        switch flags.rawValue {
        case 0x002, 0x022: .fill
        case 0x008, 0x028: .plain
        case 0x040, 0x060: .xbzrle
        case 0x100, 0x120: .compressed
        case 0x004: .blockList
        case 0x010: .endOfSection
        case 0x080: .hook
        case 0x200: .multifdFlush
        default: nil
        }
    }

    /// Whether the record's block is that of the record before it on the channel, so that no name follows.
    public var continuesBlock: Bool { flags.contains(.continuesBlock) }
}

/// What a RAM record is.
public enum RAMRecordKind: Equatable, Sendable {
    case fill
    case plain
    case xbzrle
    case compressed
    case blockList
    case endOfSection
    case hook
    case multifdFlush
}
