/// A RAM block's place in a stream's `RAMBlockTable`; counts from 0 in the order of the block list.
public struct RAMBlockID: Hashable, Comparable, Sendable {
    public let index: Int

    public init(_ index: Int) { self.index = index }

    public static func < (left: RAMBlockID, right: RAMBlockID) -> Bool { left.index < right.index }
}

/// A RAM block as the block list announces it.
///
///     size  field
///      1+n  name
///        8  used size in bytes
///        8  page size in the host's memory, only with post-copy and only if it is not the host's 4096
///        8  guest physical address, only with x-ignore-shared
///       28  where the pages lie in the file, only with mapped-ram
///
/// See QEMU migration/ram.c, ram_save_setup.
public struct RAMBlockDescription: Equatable, Sendable {
    /// The name, the same at the source and the destination.
    public var name: String
    /// Bytes in use, a multiple of the page size; nil if only page records named the block (recovery, preempt).
    public var usedByteCount: Int?
    /// Bytes of the host's pages under this block, if the list says so (huge pages with post-copy).
    public var hostPageByteCount: UInt64?
    /// The guest physical address, if the list says so (x-ignore-shared).
    public var guestAddress: UInt64?
    /// Where a file holds the pages (mapped-ram).
    public var mapping: MappedRAMLayout?

    public init(
        name: String, usedByteCount: Int?, hostPageByteCount: UInt64? = nil, guestAddress: UInt64? = nil,
        mapping: MappedRAMLayout? = nil
    ) {
        self.name = name
        self.usedByteCount = usedByteCount
        self.hostPageByteCount = hostPageByteCount
        self.guestAddress = guestAddress
        self.mapping = mapping
    }

    /// The bytes that this entry takes in the block list.
    public var byteCount: Int {
        1 + name.utf8.count + 8 + (hostPageByteCount == nil ? 0 : 8) + (guestAddress == nil ? 0 : 8)
            + (mapping == nil ? 0 : MappedRAMLayout.byteCount)
    }

    /// Writes the entry.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.writeName(name)
        writer.write(UInt64(usedByteCount ?? 0))
        if let hostPageByteCount { writer.write(hostPageByteCount) }
        if let guestAddress { writer.write(guestAddress) }
        mapping?.write(into: &writer)
    }
}

/// The RAM blocks of one stream, by number and by name.
public struct RAMBlockTable: Equatable, Sendable {
    /// The blocks, in the order in which they were announced or first named.
    public private(set) var blocks: [RAMBlockDescription] = []
    private var names: [[UInt8]] = []

    public init() {}

    /// A table of `blocks`; their names differ.
    public init(_ blocks: [RAMBlockDescription]) {
        for block in blocks { append(block) }
    }

    /// How many blocks there are.
    public var count: Int { blocks.count }

    /// The block numbered `id`.
    public subscript(id: RAMBlockID) -> RAMBlockDescription { blocks[id.index] }

    /// The number of the block called `name`.
    public func id(named name: String) -> RAMBlockID? {
        let wanted = Array(name.utf8)
        return names.firstIndex(of: wanted).map(RAMBlockID.init)
    }

    /// Adds `block` and gives its number.
    @discardableResult
    public mutating func append(_ block: RAMBlockDescription) -> RAMBlockID {
        blocks.append(block)
        names.append(Array(block.name.utf8))
        return RAMBlockID(blocks.count - 1)
    }

    /// The bytes of the name of block `id`.
    func nameByteCount(of id: RAMBlockID) -> Int { names[id.index].count }

    /// Writes the name of block `id` with its length before it.
    @_lifetime(writer: copy writer)
    func writeName(of id: RAMBlockID, into writer: inout StreamWriter) {
        writer.write(UInt8(names[id.index].count))
        writer.write(names[id.index])
    }

    /// The number of the block whose name is the bytes of `range`; looks at `likely` first.
    func id(ofName range: Range<Int>, in bytes: RawSpan, likely: RAMBlockID?) -> RAMBlockID? {
        if let likely, names[likely.index].count == range.count,
            bytes.hasBytes(names[likely.index], at: range.lowerBound)
        {
            return likely
        }
        for index in names.indices
        where names[index].count == range.count && bytes.hasBytes(names[index], at: range.lowerBound) {
            return RAMBlockID(index)
        }
        return nil
    }
}
