internal import Synchronization

/// Which guest addresses are memory, and of which block.
///
/// Built once, never changed, so any thread may use it. Nothing hands out a pointer for keeping: bytes are copied in
/// and out, and a `GuestMemorySlice` names its block, which it keeps alive. A range must lie in one region; the guest's
/// RAM has a hole below 4 GiB, and what crosses an edge is refused, never cut short.
///
///     0                    3 GiB       4 GiB
///     | microvm.ram @0     | devices   | microvm.ram @3 GiB ...
public final class GuestAddressSpace: Sendable {
    /// A range of guest addresses backed by a part of a block.
    public struct Region: Sendable {
        public let address: GuestAddress
        public let byteCount: Int
        public let block: RAMBlock
        public let blockOffset: Int
        /// Neither the guest nor a device may write here; the block's pages can still be loaded by a migration.
        public let isReadOnly: Bool

        /// - Precondition: the range lies inside the block and does not wrap around; all but the size are multiples of
        ///   the page size, so that a field aligned for the guest is aligned for the host.
        public init(
            address: GuestAddress, byteCount: Int, block: RAMBlock, blockOffset: Int = 0, isReadOnly: Bool = false
        ) {
            precondition(
                blockOffset >= 0 && byteCount > 0 && byteCount <= block.byteCount - blockOffset,
                "bytes \(blockOffset) + \(byteCount) of RAM block \(block.name)")
            precondition(address.advanced(by: UInt64(byteCount) - 1) != nil, "\(address) + \(byteCount)")
            precondition(
                address.value % UInt64(pageSize) == 0 && blockOffset % pageSize == 0,
                "\(address) and block offset \(blockOffset) do not begin a page")
            self.address = address
            self.byteCount = byteCount
            self.block = block
            self.blockOffset = blockOffset
            self.isReadOnly = isReadOnly
        }
    }

    /// Sorted by address, none overlapping another.
    public let regions: [Region]
    /// Every block, each once; blocks without a region come after those that have one.
    public let blocks: [RAMBlock]

    /// - Parameter unmapped: blocks the guest cannot see, but a migration moves.
    /// - Precondition: no two regions overlap and no two blocks share a name.
    public init(regions: [Region], unmapped: [RAMBlock] = []) {
        let sorted = regions.sorted { $0.address < $1.address }
        for (lower, upper) in zip(sorted, sorted.dropFirst()) {
            precondition(
                upper.address.value - lower.address.value >= UInt64(lower.byteCount),
                "regions at \(lower.address) and \(upper.address) overlap")
        }
        self.regions = sorted
        var blocks: [RAMBlock] = []
        for block in sorted.map(\.block) + unmapped where !blocks.contains(where: { $0 === block }) {
            precondition(!blocks.contains { $0.name == block.name }, "two RAM blocks are named \(block.name)")
            blocks.append(block)
        }
        self.blocks = blocks
    }

    /// The block named `name`, nil when there is none.
    public func block(named name: String) -> RAMBlock? { blocks.first { $0.name == name } }

    /// The part of a block that the `byteCount` bytes at `address` are.
    public func slice(
        at address: GuestAddress, byteCount: Int, forWriting: Bool = false
    ) throws(GuestMemoryError) -> GuestMemorySlice {
        for region in regions where address >= region.address {
            let offset = address.value - region.address.value
            if offset >= UInt64(region.byteCount) { continue }
            guard byteCount >= 0, byteCount <= region.byteCount - Int(offset) else { break }
            if forWriting && region.isReadOnly { throw .readOnly(address: address, byteCount: byteCount) }
            return GuestMemorySlice(
                block: region.block, blockOffset: region.blockOffset + Int(offset), byteCount: byteCount)
        }
        throw .notMemory(address: address, byteCount: byteCount)
    }

    /// Copies guest memory into `buffer`.
    public func read(at address: GuestAddress, into buffer: UnsafeMutableRawBufferPointer) throws(GuestMemoryError) {
        let slice = try slice(at: address, byteCount: buffer.count)
        slice.block.read(at: slice.blockOffset, into: buffer)
    }

    /// Copies `bytes` into guest memory and marks the pages dirty.
    public func write(_ bytes: UnsafeRawBufferPointer, at address: GuestAddress) throws(GuestMemoryError) {
        let slice = try slice(at: address, byteCount: bytes.count, forWriting: true)
        slice.block.write(bytes, at: slice.blockOffset)
    }

    /// Copies `byteCount` bytes of guest memory out.
    public func bytes(at address: GuestAddress, count byteCount: Int) throws(GuestMemoryError) -> [UInt8] {
        let slice = try slice(at: address, byteCount: byteCount)
        return [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, initialized in
            slice.block.read(at: slice.blockOffset, into: UnsafeMutableRawBufferPointer(buffer))
            initialized = byteCount
        }
    }

    /// Copies `bytes` into guest memory and marks the pages dirty.
    public func write(_ bytes: [UInt8], at address: GuestAddress) throws(GuestMemoryError) {
        let slice = try slice(at: address, byteCount: bytes.count, forWriting: true)
        bytes.withUnsafeBytes { slice.block.write($0, at: slice.blockOffset) }
    }
}

/// A range of bytes of one RAM block, checked to lie inside it.
public struct GuestMemorySlice: Sendable {
    public let block: RAMBlock
    public let blockOffset: Int
    public let byteCount: Int

    /// The bytes, for a system call made before the guest's next chance to unmap nothing: the block outlives the slice.
    public var bytes: UnsafeMutableRawBufferPointer { block.bytes(at: blockOffset, count: byteCount) }

    /// Marks the bytes as written. Called after they are.
    public func markDirty() { block.markDirty(at: blockOffset, byteCount: byteCount) }

    /// The part from `offset` on, at most `count` bytes of it.
    ///
    /// - Precondition: `0 <= offset <= byteCount`.
    public func part(from offset: Int, count: Int = .max) -> GuestMemorySlice {
        precondition(offset >= 0 && offset <= byteCount && count >= 0, "\(offset) + \(count) of \(byteCount) bytes")
        return GuestMemorySlice(
            block: block, blockOffset: blockOffset + offset, byteCount: min(count, byteCount - offset))
    }
}
