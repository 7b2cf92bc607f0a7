/// Writes what `StreamDecoder` reads.
///
/// The static functions write an element back, byte for byte as it was read. A source that writes pages of its own
/// keeps one `StreamEncoder` for each channel, which knows when a record must name its block, and sends each page
/// straight from guest memory behind the header that `writePageHeader` makes.
public struct StreamEncoder: Sendable {
    /// The block that the next record can continue, nil before the first record.
    public private(set) var currentBlock: RAMBlockID?

    /// An encoder at the beginning of a channel.
    public init() {}

    /// The most bytes that `writePageHeader` writes.
    public static let maximumPageHeaderByteCount = RAMPageHeader.byteCount + 1 + 255

    /// Writes the beginning of a page's record: all but the page's bytes.
    ///
    /// What must follow is for `.plain` the page, for `.fill` one byte, for `.xbzrle` what `writeDeltaHeader` writes
    /// and the update, for `.compressed` a 32-bit length and that many bytes.
    @inline(__always)
    @_lifetime(writer: copy writer)
    public mutating func writePageHeader(
        _ kind: RAMRecordKind, block: RAMBlockID, blockOffset: Int, blocks: borrowing RAMBlockTable,
        into writer: inout StreamWriter
    ) {
        let flags: RAMRecordFlags =
            switch kind {
            case .plain: .page
            case .fill: .zero
            case .xbzrle: .xbzrle
            case .compressed: .compressedPage
            default: preconditionFailure("\(kind) is not a page")
            }
        let continues = currentBlock == block
        let all = continues ? flags.union(.continuesBlock) : flags
        writer.write(RAMPageHeader(blockOffset: blockOffset, flags: all).word)
        if !continues {
            blocks.writeName(of: block, into: &writer)
            currentBlock = block
        }
    }

    /// Writes what stands between an XBZRLE page's header and its update of `byteCount` bytes.
    @_lifetime(writer: copy writer)
    public static func writeDeltaHeader(byteCount: Int, into writer: inout StreamWriter) {
        writer.write(1 as UInt8)
        writer.write(UInt16(byteCount))
    }

    /// Writes a record that has no page: the end of a section, a multifd flush, a hook, or the block list's beginning.
    @_lifetime(writer: copy writer)
    public static func writeRecord(
        _ flags: RAMRecordFlags, totalByteCount: Int = 0, into writer: inout StreamWriter
    ) {
        writer.write(RAMPageHeader(blockOffset: totalByteCount, flags: flags).word)
    }

    /// Writes the payload of the `ram` section's START: the block list and the end of the section's records.
    @_lifetime(writer: copy writer)
    public static func writeBlockList(_ blocks: borrowing RAMBlockTable, into writer: inout StreamWriter) {
        let total = blocks.blocks.reduce(0) { $0 + ($1.usedByteCount ?? 0) }
        writeRecord(.memorySize, totalByteCount: total, into: &writer)
        for block in blocks.blocks { block.write(into: &writer) }
    }

    /// The bytes that `writeBlockList` writes.
    public static func blockListByteCount(_ blocks: borrowing RAMBlockTable) -> Int {
        blocks.blocks.reduce(8) { $0 + $1.byteCount }
    }

    /// Writes the header of a stream.
    @_lifetime(writer: copy writer)
    public static func writeHeader(into writer: inout StreamWriter) {
        writer.write(migrationStreamMagic)
        writer.write(migrationStreamVersion)
    }

    /// Writes the configuration section.
    @_lifetime(writer: copy writer)
    public static func writeConfiguration(
        machine: String, subsections: [ConfigurationSubsection] = [], into writer: inout StreamWriter
    ) {
        writer.write(SectionType.configuration.rawValue)
        writer.write(UInt32(machine.utf8.count))
        writer.writeText(machine)
        for subsection in subsections { subsection.write(into: &writer) }
    }

    /// Writes the footer of section `id`.
    @_lifetime(writer: copy writer)
    public static func writeFooter(sectionID id: UInt32, into writer: inout StreamWriter) {
        writer.write(SectionType.footer.rawValue)
        writer.write(id)
    }

    /// Writes the end of the state.
    @_lifetime(writer: copy writer)
    public static func writeEndOfStream(into writer: inout StreamWriter) {
        writer.write(SectionType.endOfStream.rawValue)
    }

    /// Writes what stands before the JSON description of `byteCount` bytes.
    @_lifetime(writer: copy writer)
    public static func writeDescriptionHeader(byteCount: Int, into writer: inout StreamWriter) {
        writer.write(SectionType.description.rawValue)
        writer.write(UInt32(byteCount))
    }
}
