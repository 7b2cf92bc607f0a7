/// A RAM block that is handed over as a descriptor, in a command that has a number of them.
///
///     size  field
///        2  number of blocks, then for each
///      1+n    name of the block
///        8    where it begins in the file, in bytes
///        8    its size in bytes
public struct LocalMemory: Equatable, Sendable {
    public var block: String
    public var fileOffset: UInt64
    public var byteCount: UInt64

    public init(block: String, fileOffset: UInt64 = 0, byteCount: UInt64) {
        self.block = block
        self.fileOffset = fileOffset
        self.byteCount = byteCount
    }

    /// No more descriptors than this travel at once.
    static let maximumCount = 16

    @_lifetime(reader: copy reader)
    static func parse(_ reader: inout StreamReader, byteCount: Int) throws(StreamError) -> [LocalMemory] {
        let start = reader.offset
        let count = try reader.readUInt16("number of blocks")
        guard count <= maximumCount else {
            throw .limitExceeded(
                field: "number of blocks", offset: start, limit: maximumCount, found: UInt64(count))
        }
        var blocks: [LocalMemory] = []
        for _ in 0..<count {
            let name = try reader.readName("name of a block")
            let offset = try reader.readUInt64("place of a block")
            blocks.append(
                LocalMemory(block: name, fileOffset: offset, byteCount: try reader.readUInt64("size of a block")))
        }
        guard reader.offset - start == byteCount else {
            throw .unexpectedValue(
                field: "length of a list of memory", offset: start, expected: UInt64(reader.offset - start),
                found: UInt64(byteCount))
        }
        return blocks
    }
}
