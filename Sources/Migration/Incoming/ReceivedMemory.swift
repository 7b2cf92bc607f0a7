internal import GuestMemory
internal import LinuxSystem

/// Guest memory at the destination, as loaders write it: by name, with bounds, and remembering what has come.
///
/// Several threads may write at once, to different pages.
final class ReceivedMemory: Sendable {
    private let regions: [Region]

    struct Region {
        let block: RAMBlock
        let beginsAsZero: Bool
        let isOptional: Bool
        let received: DirtyBitmap
    }

    init(machine: any MigratableMachine) {
        regions = machine.regions.map {
            Region(
                block: $0.block, beginsAsZero: $0.beginsAsZero, isOptional: $0.isOptional,
                received: DirtyBitmap(pageCount: $0.block.pageCount))
        }
    }

    var count: Int { regions.count }
    func block(_ region: Int) -> RAMBlock { regions[region].block }
    func isOptional(_ region: Int) -> Bool { regions[region].isOptional }

    func region(named name: String) -> Int? { regions.firstIndex { $0.block.name == name } }

    /// How many pages from `offset` on nothing has come for yet, at most `limit`. Bytes may be written there before it
    /// is known what they are, as long as they are taken back by `forget`. 0 where memory does not begin as zero.
    func untouchedPageCount(region: Int, offset: Int, limit: Int) -> Int {
        let state = regions[region]
        guard state.beginsAsZero, offset >= 0, offset < state.block.byteCount else { return 0 }
        let first = offset / pageSize
        let count = min(limit, state.block.pageCount - first)
        let range = PageRange(first: PageIndex(first), pageCount: count)
        guard let received = state.received.firstRun(in: range, limit: 1) else { return count }
        return received.first.value - first
    }

    /// Makes untouched pages zero again that something was written into which does not belong there.
    func forget(region: Int, offset: Int, pageCount: Int) {
        zero(regions[region].block, PageRange(first: PageIndex(offset / pageSize), pageCount: pageCount))
    }

    /// Where the pages of a run belong, which are marked as received unless `marks` is false.
    ///
    /// - Throws: `MigrationError.pageOutsideBlock`.
    func target(
        region: Int, offset: Int, pageCount: Int, marks: Bool = true
    ) throws(MigrationError) -> UnsafeMutableRawBufferPointer {
        let block = regions[region].block
        guard offset >= 0, offset % pageSize == 0, pageCount >= 0,
            offset <= block.byteCount - pageCount * pageSize
        else { throw .pageOutsideBlock(block.name, offset: offset, blockByteCount: block.byteCount) }
        if marks {
            regions[region].received.mark(PageRange(first: PageIndex(offset / pageSize), pageCount: pageCount))
        }
        return block.bytes(at: offset, count: pageCount * pageSize)
    }

    /// Fills pages with one byte. Pages that were never written and shall be zero are not touched: they cost no memory.
    func fill(region: Int, offset: Int, pageCount: Int, with byte: UInt8) throws(MigrationError) {
        let state = regions[region]
        let block = state.block
        guard offset >= 0, offset % pageSize == 0, offset <= block.byteCount - pageCount * pageSize else {
            throw .pageOutsideBlock(block.name, offset: offset, blockByteCount: block.byteCount)
        }
        let range = PageRange(first: PageIndex(offset / pageSize), pageCount: pageCount)
        if byte == 0 && state.beginsAsZero {
            var rest = range
            while let run = state.received.firstRun(in: rest) {
                zero(block, run)
                rest = PageRange(first: run.end, pageCount: range.end.value - run.end.value)
            }
        } else if byte == 0 {
            zero(block, range)
        } else {
            block.bytes(at: range.blockOffset, count: range.byteCount).initializeMemory(as: UInt8.self, repeating: byte)
        }
        state.received.mark(range)
    }

    private func zero(_ block: RAMBlock, _ range: PageRange) {
        block.bytes(at: range.blockOffset, count: range.byteCount).initializeMemory(as: UInt8.self, repeating: 0)
    }
}
