/// Consecutive page records of one kind with ascending offsets, as they lie in the caller's buffer.
///
/// A run is as long as the buffer holds. Its bytes stay where they are: page `n` of a plain run is
/// `pageBytes(n)` of the span that was given to the decoder.
public struct PageRun: Equatable, Sendable {
    /// What the pages hold.
    public enum Content: Equatable, Sendable {
        /// Each record holds its page's bytes.
        case plain
        /// Every byte of every page is this one. QEMU only sends 0.
        case fill(UInt8)
    }

    /// The block that the pages belong to.
    public var block: RAMBlockID
    /// The offset of the first page in the block, in bytes; the others follow without a gap.
    public var blockOffset: Int
    /// How many pages.
    public var pageCount: Int
    /// Bytes of a page.
    public var pageByteCount: Int
    /// What the pages hold.
    public var content: Content
    /// Whether the first record names the block; all others continue it.
    public var namesBlock: Bool
    /// All the records' bytes, in the span given to the decoder.
    public var records: Range<Int>
    /// Bytes before the first page's content: 8, and the name if there is one.
    public var firstHeaderByteCount: Int

    public init(
        block: RAMBlockID, blockOffset: Int, pageCount: Int, pageByteCount: Int, content: Content, namesBlock: Bool,
        records: Range<Int>, firstHeaderByteCount: Int
    ) {
        self.block = block
        self.blockOffset = blockOffset
        self.pageCount = pageCount
        self.pageByteCount = pageByteCount
        self.content = content
        self.namesBlock = namesBlock
        self.records = records
        self.firstHeaderByteCount = firstHeaderByteCount
    }

    /// The bytes from one record's content to the next one's.
    public var recordByteCount: Int { RAMPageHeader.byteCount + (content == .plain ? pageByteCount : 1) }

    /// Where page `index` of a plain run lies in the span given to the decoder.
    public func pageBytes(_ index: Int) -> Range<Int> {
        precondition(content == .plain && index >= 0 && index < pageCount, "page \(index) of \(pageCount)")
        let start = records.lowerBound + firstHeaderByteCount + index * recordByteCount
        return start..<(start + pageByteCount)
    }

    /// The offset in the block behind the last page, in bytes.
    public var endOffset: Int { blockOffset + pageCount * pageByteCount }
}

/// A page sent as something smaller that only makes sense whole: an XBZRLE update or a zlib stream.
public struct EncodedPage: Equatable, Sendable {
    /// The block that the page belongs to.
    public var block: RAMBlockID
    /// The offset of the page in the block, in bytes.
    public var blockOffset: Int
    /// Whether the record names the block.
    public var namesBlock: Bool
    /// The update or zlib stream, in the span given to the decoder.
    public var payload: Range<Int>

    public init(block: RAMBlockID, blockOffset: Int, namesBlock: Bool, payload: Range<Int>) {
        self.block = block
        self.blockOffset = blockOffset
        self.namesBlock = namesBlock
        self.payload = payload
    }
}
