internal import GuestMemory

/// Claims pages and writes them to one channel: whoever takes a page's dirty bit sends it, and nobody else does.
///
/// Used by one thread. A unit (a huge page) is claimed by its first page and sent whole and in order.
struct PostcopySendingLane {
    private let tracker: DirtyTracker
    private let writer: StreamPageWriter
    private let units: [Int]

    init(tracker: DirtyTracker, writer: StreamPageWriter, regions: [MemoryRegion]) {
        self.tracker = tracker
        self.writer = writer
        units = regions.map(\.unitPageCount)
    }

    /// Sends those pages of `range` that nobody has sent yet; how many there were.
    func send(region: Int, _ range: PageRange) throws -> Int {
        if units[region] > 1 { return try sendUnits(region: region, range) }
        let block = tracker.block(region)
        var sent = 0
        var runStart = 0
        var runCount = 0
        var page = range.first.value
        let end = range.end.value
        while page < end {
            let shift = page & 63
            let count = min(64 - shift, end - page)
            let mask = (count == 64 ? ~UInt64(0) : (1 << UInt64(count)) - 1) << UInt64(shift)
            var bits = block.dirtyBitmap.take(word: page >> 6, bits: mask)
            sent += bits.nonzeroBitCount
            let base = page & ~63
            while bits != 0 {
                let first = bits.trailingZeroBitCount
                let length = (~(bits >> UInt64(first))).trailingZeroBitCount
                if runCount > 0 && runStart + runCount == base + first {
                    runCount += length
                } else {
                    if runCount > 0 {
                        try writer.append(region: region, block: block, first: runStart, pageCount: runCount)
                    }
                    runStart = base + first
                    runCount = length
                }
                let upTo = first + length
                bits &= upTo >= 64 ? 0 : ~UInt64(0) << UInt64(upTo)
            }
            page += count
        }
        if runCount > 0 { try writer.append(region: region, block: block, first: runStart, pageCount: runCount) }
        return sent
    }

    private func sendUnits(region: Int, _ range: PageRange) throws -> Int {
        let block = tracker.block(region)
        let unit = units[region]
        var sent = 0
        var first = range.first.value / unit * unit
        while first < range.end.value {
            let bit = UInt64(1) << UInt64(first & 63)
            if block.dirtyBitmap.take(word: first >> 6, bits: bit) != 0 {
                block.dirtyBitmap.clear(PageRange(first: PageIndex(first), pageCount: unit))
                try writer.append(region: region, block: block, first: first, pageCount: unit)
                sent += unit
            }
            first += unit
        }
        return sent
    }

    /// Sends what was written.
    func flush() throws { try writer.finishPass() }
}
