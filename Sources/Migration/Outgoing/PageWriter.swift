internal import GuestMemory

/// Writes pages to one channel in its own format. Used by one thread.
protocol PageWriter: AnyObject {
    /// Adds `pageCount` pages of `region` from page `first` on; they are read now or before `finishPass` returns.
    func append(region: Int, block: RAMBlock, first: Int, pageCount: Int) throws
    /// Adds pages that are known to be zero. Only where zero pages are looked for.
    func appendZeros(region: Int, block: RAMBlock, first: Int, pageCount: Int) throws
    /// Whether pages of zeros are sent as such.
    var findsZeroPages: Bool { get }
    /// Sends what is left of the pass.
    func finishPass() throws
}

/// Takes chunk after chunk of memory and writes its pages.
struct ChunkSender {
    let tracker: DirtyTracker
    let writer: any PageWriter
    let counters: TransferCounters
    private var bits = [UInt64](repeating: 0, count: DirtyTracker.largestChunk)
    private var untouched = [UInt64](repeating: 0, count: DirtyTracker.largestChunk)

    init(tracker: DirtyTracker, writer: any PageWriter, counters: TransferCounters) {
        self.tracker = tracker
        self.writer = writer
        self.counters = counters
    }

    /// Sends what is to be sent of one chunk; how many pages that were.
    mutating func send(_ chunk: DirtyTracker.Chunk, mode: DirtyTracker.Mode) throws -> Int {
        let (taken, skipped) = try tracker.take(chunk, mode: mode, into: &bits)
        if skipped > 0 { counters.addSkipped(skipped) }
        if taken == 0 { return 0 }
        let block = tracker.block(chunk.region)
        // The first pass meets memory that the guest has never used: reading that would cost a fault a page.
        if mode == .clearing && writer.findsZeroPages && block.findUntouchedPages(pages(of: chunk), into: &untouched) {
            for index in 0..<chunk.words.count {
                untouched[index] &= bits[index]
                bits[index] &= ~untouched[index]
            }
            try forEachRun(of: untouched, in: chunk) { first, pageCount in
                try writer.appendZeros(region: chunk.region, block: block, first: first, pageCount: pageCount)
            }
        }
        try forEachRun(of: bits, in: chunk) { first, pageCount in
            try writer.append(region: chunk.region, block: block, first: first, pageCount: pageCount)
        }
        return taken
    }

    private func pages(of chunk: DirtyTracker.Chunk) -> PageRange {
        let first = chunk.words.lowerBound * 64
        let end = min(chunk.words.upperBound * 64, tracker.block(chunk.region).pageCount)
        return PageRange(first: PageIndex(first), pageCount: end - first)
    }

    private func forEachRun(
        of bits: [UInt64], in chunk: DirtyTracker.Chunk, _ body: (_ first: Int, _ pageCount: Int) throws -> Void
    ) rethrows {
        let pageCount = chunk.words.count * 64
        let base = chunk.words.lowerBound * 64
        var page = 0
        while page < pageCount {
            let start = Self.next(set: true, in: bits, from: page, to: pageCount)
            if start == pageCount { break }
            let end = Self.next(set: false, in: bits, from: start, to: pageCount)
            try body(base + start, end - start)
            page = end
        }
    }

    /// The first bit from `start` on that is set or clear, as asked for; `end` if none is.
    private static func next(set: Bool, in words: [UInt64], from start: Int, to end: Int) -> Int {
        var bit = start
        while bit < end {
            let word = (set ? words[bit >> 6] : ~words[bit >> 6]) >> UInt64(bit & 63)
            if word != 0 { return min(bit + word.trailingZeroBitCount, end) }
            bit = (bit | 63) + 1
        }
        return end
    }
}
