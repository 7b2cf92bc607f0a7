/// Where a mapped-ram file holds the pages of one block.
///
///     offset  size  field
///          0     4  version, 1
///          4     8  page size
///         12     8  offset of the bitmap in the file
///         20     8  offset of the pages in the file
///
/// Big-endian and packed. The bitmap has one bit for each page, in little-endian 64-bit words, set for the pages that
/// the file holds; page n lies at `pagesOffset` + n × `pageByteCount`, and the stream goes on behind the last page.
/// A block that is not saved (shared memory) has both offsets 0. See QEMU migration/ram.c, mapped_ram_setup_ramblock.
public struct MappedRAMLayout: Equatable, Sendable {
    /// The bytes of this header.
    public static let byteCount = 28

    /// Bytes of a page.
    public var pageByteCount: Int
    /// Where in the file the bitmap begins.
    public var bitmapOffset: Int
    /// Where in the file the pages begin.
    public var pagesOffset: Int

    public init(pageByteCount: Int, bitmapOffset: Int, pagesOffset: Int) {
        self.pageByteCount = pageByteCount
        self.bitmapOffset = bitmapOffset
        self.pagesOffset = pagesOffset
    }

    /// Whether the file holds this block's pages at all.
    public var isPresent: Bool { bitmapOffset != 0 || pagesOffset != 0 }

    /// The bytes of the bitmap of a block of `usedByteCount` bytes.
    public func bitmapByteCount(usedByteCount: Int) -> Int {
        let pageCount = (usedByteCount + pageByteCount - 1) / pageByteCount
        return (pageCount + 63) / 64 * 8
    }

    /// Writes the header.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.write(1 as UInt32)
        writer.write(UInt64(pageByteCount))
        writer.write(UInt64(bitmapOffset))
        writer.write(UInt64(pagesOffset))
    }
}

/// A piece of the file region that follows a block's entry in a mapped-ram block list.
///
/// The region is handed over in pieces as long as the buffer holds, first the bitmap, then padding, then the pages, so
/// that a file can also be read from a pipe. With a file at hand a tool skips to `MappedRAMLayout.pagesOffset`.
public struct MappedRAMPiece: Equatable, Sendable {
    /// What the bytes are.
    public enum Part: Equatable, Sendable {
        case bitmap
        case padding
        case pages
    }

    /// The block that the region belongs to.
    public var block: RAMBlockID
    /// What the bytes are.
    public var part: Part
    /// Where in its part the piece begins, in bytes; for `pages` that is the offset in the block.
    public var partOffset: Int
    /// The bytes, in the span given to the decoder.
    public var bytes: Range<Int>

    public init(block: RAMBlockID, part: Part, partOffset: Int, bytes: Range<Int>) {
        self.block = block
        self.part = part
        self.partOffset = partOffset
        self.bytes = bytes
    }
}
