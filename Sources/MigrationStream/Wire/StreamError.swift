/// Why bytes are not the stream that they should be.
///
/// Every case carries `offset`, the absolute position in the stream (of this channel) of the value that is wrong, and
/// where a value was wrong also what was expected and what was found. `description` is one sentence for a person.
public enum StreamError: Error, Equatable, Sendable {
    /// The input ended `missing` bytes too early, inside `part`.
    case truncated(part: String, offset: Int, missing: Int)
    /// A field must have one value and has another.
    case unexpectedValue(field: String, offset: Int, expected: UInt64, found: UInt64)
    /// A count or length from the stream is above its limit in `StreamLimits`, or below its least value.
    case limitExceeded(field: String, offset: Int, limit: Int, found: UInt64)
    /// A name is empty or holds a byte that is not printable ASCII; `found` is that byte, nil for an empty name.
    case invalidName(field: String, offset: Int, found: UInt8?)
    /// A byte that begins no top-level item.
    case unknownSectionType(offset: Int, found: UInt8)
    /// A PART or END of a section that no START announced.
    case unknownSection(offset: Int, id: UInt32)
    /// The byte after a section's payload is not the footer's 0x7E.
    case missingFooter(section: String, offset: Int, found: UInt8)
    /// The footer names another section than the one it ends.
    case footerMismatch(section: String, offset: Int, expected: UInt32, found: UInt32)
    /// A RAM record with a combination of flags that is no record.
    case unknownRAMFlags(offset: Int, found: UInt64)
    /// A record says that it continues the previous one's block, and there is none on this channel.
    case noCurrentBlock(offset: Int)
    /// A record or command names a block that the block list does not hold.
    case unknownBlock(String, offset: Int)
    /// A block list names a block twice.
    case duplicateBlock(String, offset: Int)
    /// A page lies outside its block.
    case pageOutsideBlock(String, offset: Int, pageOffset: UInt64, usedByteCount: Int)
    /// A page's offset is not a multiple of the page size.
    case misalignedPage(offset: Int, pageOffset: UInt64, pageByteCount: Int)
    /// The sizes of the listed blocks do not add up to the list's total.
    case blockListTotalMismatch(offset: Int, expected: UInt64, found: UInt64)
    /// A command number that is not in use.
    case unknownCommand(offset: Int, found: UInt16)
    /// A message type on the return path that is not in use.
    case unknownMessage(offset: Int, found: UInt16)
    /// An item stands where it may not (a header inside a package, a PART before its START…).
    case misplaced(item: String, offset: Int)
    /// No end was found for a section whose length is not on the wire, within `limit` bytes.
    case unboundedSection(String, offset: Int, limit: Int)
    /// The description at the stream's end gives a section another size than it had.
    case sectionSizeMismatch(section: String, instance: UInt32, offset: Int, described: Int, found: Int)
    /// The description at the stream's end cannot be read; `reason` says why.
    case invalidDescription(offset: Int, reason: String)
    /// The bytes go on after the stream's end.
    case trailingBytes(offset: Int, count: Int)
    /// An XBZRLE update that is not one; `offset` counts from the update's first byte unless a stream held it.
    case invalidDelta(reason: String, offset: Int)

    /// The absolute offset in the stream where the error was seen.
    public var offset: Int {
        switch self {
        case .truncated(_, let offset, _), .unexpectedValue(_, let offset, _, _), .limitExceeded(_, let offset, _, _),
            .invalidName(_, let offset, _), .unknownSectionType(let offset, _), .unknownSection(let offset, _),
            .missingFooter(_, let offset, _), .footerMismatch(_, let offset, _, _), .unknownRAMFlags(let offset, _),
            .noCurrentBlock(let offset), .unknownBlock(_, let offset), .duplicateBlock(_, let offset),
            .pageOutsideBlock(_, let offset, _, _), .misalignedPage(let offset, _, _),
            .blockListTotalMismatch(let offset, _, _), .unknownCommand(let offset, _), .unknownMessage(let offset, _),
            .misplaced(_, let offset), .unboundedSection(_, let offset, _),
            .sectionSizeMismatch(_, _, let offset, _, _), .invalidDescription(let offset, _),
            .trailingBytes(let offset, _), .invalidDelta(_, let offset):
            offset
        }
    }
}
