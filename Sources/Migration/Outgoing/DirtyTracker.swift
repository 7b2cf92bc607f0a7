internal import GuestMemory
internal import Synchronization

/// Knows which pages are still to be sent, and which of these the dirty log must forget before they are read.
///
/// Two bitmaps a region. `dirty` (the block's own, which devices mark too) holds the pages to be sent. `reported` holds
/// those that the log has reported and that were not cleared in it since: until a page is cleared, further writes to it
/// are not reported. So a page is sent in this order, and no write is lost:
///
///     take it from dirty -> clear it in the log -> take it from reported -> read its bytes
///
/// while a sync does `reported |= log & ~reported`, then `dirty |=` the same. A page in `reported` is thus in `dirty`
/// as well, or on its way through those four steps. Races between the two only ever send a page once more.
///
/// One thread syncs; any number takes chunks, each word being taken by one at a time.
final class DirtyTracker: Sendable {
    private let machine: any MigratableMachine
    private let regions: [Region]
    /// Regions whose pages are sent; the others are handed over otherwise, and nobody asks what is written there.
    private let tracked: [Int]
    private let log = Mutex<[UInt64]>([])
    let totalPageCount: Int

    struct Region {
        let block: RAMBlock
        let dirty: DirtyBitmap
        let reported: DirtyBitmap
    }

    /// The unit of work of a channel, and of clearing the log, is 4096 pages, or less of a small guest.
    static let largestChunk = 64
    private static let smallestChunk = 8
    /// A power of two.
    let wordsPerChunk: Int
    /// The pages of each word that are watched from the start, 64 of a chunk.
    ///
    /// A log that begins with every page set does not report a write to a page before that was cleared, and clearing
    /// costs the guest a fault at its next write.
    private let samples: UInt64

    /// A part of one region that one thread sends.
    struct Chunk: Equatable {
        let region: Int
        let words: Range<Int>
    }

    /// All of memory in chunks, in the order of the block list.
    let chunks: [Chunk]

    /// - Parameter excluded: Regions whose pages are not sent.
    init(machine: any MigratableMachine, excluding excluded: Set<Int> = []) {
        self.machine = machine
        let blocks = machine.regions.map(\.block)
        tracked = blocks.indices.filter { !excluded.contains($0) }
        regions = blocks.map {
            Region(block: $0, dirty: $0.dirtyBitmap, reported: DirtyBitmap(pageCount: $0.pageCount))
        }
        totalPageCount = tracked.reduce(0) { $0 + blocks[$1].pageCount }
        var wordsPerChunk = Self.smallestChunk
        // Some dozens tell apart where the guest writes and where it does not.
        while wordsPerChunk < Self.largestChunk && wordsPerChunk * 64 * 64 < totalPageCount { wordsPerChunk *= 2 }
        self.wordsPerChunk = wordsPerChunk
        samples = (0..<64 / wordsPerChunk).reduce(0) { $0 | 1 << UInt64($1 * wordsPerChunk) }
        chunks = tracked.flatMap { region in
            let wordCount = blocks[region].dirtyBitmap.wordCount
            return stride(from: 0, to: wordCount, by: wordsPerChunk).map { first in
                Chunk(region: region, words: first..<min(first + wordsPerChunk, wordCount))
            }
        }
    }

    func block(_ region: Int) -> RAMBlock { regions[region].block }
    var regionCount: Int { regions.count }

    /// Whether no page is to be sent.
    var isEmpty: Bool { tracked.isEmpty }

    /// Starts the log; every page is to be sent.
    func start() throws {
        if isEmpty { return }
        let beginsSet = try machine.startDirtyTracking()
        for region in tracked.map({ regions[$0] }) {
            region.dirty.markAll()
            if beginsSet { region.reported.markAll() } else { region.reported.clearAll() }
        }
        if beginsSet { try startSampling() }
    }

    /// Ends the log. What was dirty does not matter any more: another migration begins with every page.
    func stop() { if !isEmpty { machine.stopDirtyTracking() } }

    // MARK: Where the guest writes

    /// Watches the samples of all chunks.
    private func startSampling() throws {
        for index in tracked {
            let reported = regions[index].reported
            let words = (0..<reported.wordCount).map { reported.take(word: $0, bits: samples) }
            try machine.clearDirtyLog(of: index, firstWord: 0, words: words)
        }
    }

    /// How many of the 64 samples of a chunk the guest has written, as far as the last sync saw it, before the first time
    /// that the chunk is taken.
    func writtenSampleCount(_ chunk: Chunk) -> Int {
        let reported = regions[chunk.region].reported
        return chunk.words.reduce(0) { $0 + (reported.word(at: $1) & samples).nonzeroBitCount }
    }

    // MARK: Taking pages

    /// Takes over what the log has to report, which is marked in `recent` too.
    func sync(recent: [DirtyBitmap]? = nil) throws {
        try log.withLock { words in
            for index in tracked {
                let region = regions[index]
                let wordCount = region.dirty.wordCount
                if words.count != wordCount { words = [UInt64](repeating: 0, count: wordCount) }
                try machine.readDirtyLog(of: index, into: &words)
                for word in 0..<wordCount where words[word] != 0 { words[word] &= ~region.reported.word(at: word) }
                region.reported.merge(log: words.span)
                region.dirty.merge(log: words.span)
                recent?[index].merge(log: words.span)
            }
        }
    }

    /// Clears all reported pages in the log, so that pages written before their turn show up in a sync.
    func clearReported() throws {
        for chunk in chunks { try clearReported(in: chunk) }
    }

    private func clearReported(in chunk: Chunk) throws {
        let reported = regions[chunk.region].reported
        var bits = [UInt64](repeating: 0, count: chunk.words.count)
        var isEmpty = true
        for (index, word) in chunk.words.enumerated() where reported.word(at: word) != 0 {
            bits[index] = reported.takeWord(at: word)
            isEmpty = false
        }
        if isEmpty { return }
        try machine.clearDirtyLog(of: chunk.region, firstWord: chunk.words.lowerBound, words: bits)
    }

    /// How a chunk's pages are taken.
    enum Mode {
        /// They are cleared in the log now, just before they are read.
        case clearing
        /// They were cleared before, and one that was written since is left for the next pass.
        case skippingRewritten
        /// The guest is stopped: nothing needs to be cleared.
        case final
    }

    /// Takes the pages of `chunk` that are to be sent: one word of bits for each word of the chunk, into `pages`.
    ///
    /// - Returns: How many pages were taken, and how many left because they were dirty again.
    func take(_ chunk: Chunk, mode: Mode, into pages: inout [UInt64]) throws -> (taken: Int, skipped: Int) {
        let region = regions[chunk.region]
        var taken = 0
        var skipped = 0
        for (index, word) in chunk.words.enumerated() {
            var bits = region.dirty.word(at: word)
            if bits != 0 { bits = region.dirty.takeWord(at: word) }
            if mode == .skippingRewritten {
                let again = bits & region.reported.word(at: word)
                if again != 0 {
                    region.dirty.merge(log: [again].span, firstPage: PageIndex(word * 64))
                    bits &= ~again
                    skipped += again.nonzeroBitCount
                }
            }
            pages[index] = bits
            taken += bits.nonzeroBitCount
        }
        if mode == .clearing && taken > 0 { try clearReported(in: chunk) }
        return (taken, skipped)
    }

    /// Pages that are still to be sent.
    var dirtyPageCount: Int { tracked.reduce(0) { $0 + regions[$1].dirty.count } }
}
