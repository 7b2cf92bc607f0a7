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

    /// Where the pages of a run belong, which are marked as received.
    ///
    /// - Throws: `MigrationError.pageOutsideBlock`.
    func target(region: Int, offset: Int, pageCount: Int) throws(MigrationError) -> UnsafeMutableRawBufferPointer {
        let block = regions[region].block
        guard offset >= 0, offset % pageSize == 0, pageCount >= 0,
            offset <= block.byteCount - pageCount * pageSize
        else { throw .pageOutsideBlock(block.name, offset: offset, blockByteCount: block.byteCount) }
        regions[region].received.mark(PageRange(first: PageIndex(offset / pageSize), pageCount: pageCount))
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
