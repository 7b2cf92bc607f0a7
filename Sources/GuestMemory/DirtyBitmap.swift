internal import Synchronization

/// One bit for each page of a RAM block: set while the page must (still) be sent.
///
/// Bit 0 of word 0 is page 0; 64 pages a word, as in the kernel's dirty log. Every operation on a word is atomic, so
/// device threads may mark pages while a sync merges the kernel's log and channel threads take runs.
///
/// The order that loses no write: who writes guest memory marks the page *after* the bytes are there; who sends a page
/// takes its bit *before* reading the bytes. Marking releases, taking acquires.
public final class DirtyBitmap: @unchecked Sendable {
    // Safe: the pointer never changes, and each word is only touched through an atomic.
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    public let pageCount: Int
    /// Words of 64 pages, the last one perhaps partly used; its unused bits are never set.
    public let wordCount: Int

    /// A bitmap of `pageCount` pages, all clean.
    public init(pageCount: Int) {
        precondition(pageCount >= 0, "\(pageCount) pages")
        self.pageCount = pageCount
        wordCount = (pageCount + 63) / 64
        words = .allocate(capacity: max(wordCount, 1))
        for index in 0..<wordCount { (words + index).initialize(to: Atomic(0)) }
    }

    deinit {
        words.deinitialize(count: wordCount)
        words.deallocate()
    }

    /// Marks the pages of `range`.
    public func mark(_ range: PageRange) {
        forEachWord(of: range) { word, mask in
            // A bit that is there already needs no write: a page of a ring is marked far more often than taken. The
            // load must acquire-and-release like the store it replaces, else a taker that clears the bit at the same
            // time could miss bytes written before this call; a read-modify-write is the only such load.
            words[word].bitwiseOr(mask, ordering: .acquiringAndReleasing)
        }
    }

    /// Marks `page`; whether it was not marked. Of several threads that mark it, one is told so.
    public func markFirst(_ page: PageIndex) -> Bool {
        precondition(page.value >= 0 && page.value < pageCount, "page \(page.value) of \(pageCount)")
        let bit = UInt64(1) << UInt64(page.value & 63)
        return words[page.value >> 6].bitwiseOr(bit, ordering: .acquiringAndReleasing).oldValue & bit == 0
    }

    /// Marks every page.
    public func markAll() { mark(PageRange(first: PageIndex(0), pageCount: pageCount)) }

    /// Forgets the marks of `range`.
    public func clear(_ range: PageRange) {
        forEachWord(of: range) { word, mask in
            words[word].bitwiseAnd(~mask, ordering: .acquiringAndReleasing)
        }
    }

    /// Forgets every mark.
    public func clearAll() { clear(PageRange(first: PageIndex(0), pageCount: pageCount)) }

    /// Whether `page` is marked.
    public func contains(_ page: PageIndex) -> Bool {
        precondition(page.value >= 0 && page.value < pageCount, "page \(page.value) of \(pageCount)")
        return words[page.value >> 6].load(ordering: .acquiring) >> UInt64(page.value & 63) & 1 == 1
    }

    /// How many pages of `range` are marked.
    public func count(in range: PageRange) -> Int {
        var count = 0
        forEachWord(of: range) { word, mask in
            count += (words[word].load(ordering: .relaxed) & mask).nonzeroBitCount
        }
        return count
    }

    /// How many pages are marked.
    public var count: Int { count(in: PageRange(first: PageIndex(0), pageCount: pageCount)) }

    /// The first run of marked pages in `range`, at most `limit` pages of it; nil when none is marked.
    public func firstRun(in range: PageRange, limit: Int = .max) -> PageRange? {
        checkBounds(range)
        guard let first = firstMarked(from: range.first.value, to: range.end.value) else { return nil }
        let bound = limit < range.end.value - first ? first + limit : range.end.value
        let end = firstClean(from: first, to: bound)
        return PageRange(first: PageIndex(first), pageCount: end - first)
    }

    /// Takes the first run of marked pages in `range`: its marks are cleared before this returns.
    ///
    /// Read the pages only afterwards. A page marked meanwhile belongs to the next pass.
    public func takeFirstRun(in range: PageRange, limit: Int = .max) -> PageRange? {
        guard let run = firstRun(in: range, limit: limit) else { return nil }
        clear(run)
        return run
    }

    /// Marks each page whose bit is set in `log`, the kernel's dirty log from page `firstPage` on; how many pages
    /// became marked that were not.
    ///
    /// - Precondition: `firstPage` is a multiple of 64; bits past the last page are zero or ignored.
    @discardableResult
    public func merge(log: Span<UInt64>, firstPage: PageIndex = PageIndex(0)) -> Int {
        precondition(firstPage.value & 63 == 0, "page \(firstPage.value) does not begin a word")
        let firstWord = firstPage.value >> 6
        let end = min(log.count, wordCount - firstWord)
        var added = 0
        for index in 0..<max(end, 0) {
            let bits = log[index] & usableBits(firstWord + index)
            if bits == 0 { continue }
            let before = words[firstWord + index].bitwiseOr(bits, ordering: .acquiringAndReleasing).oldValue
            added += (bits & ~before).nonzeroBitCount
        }
        return added
    }

    /// Marks each page that `other` marks; how many became marked that were not.
    @discardableResult
    public func merge(_ other: DirtyBitmap) -> Int {
        precondition(pageCount == other.pageCount, "\(other.pageCount) pages into \(pageCount)")
        var added = 0
        for index in 0..<wordCount {
            let bits = other.words[index].load(ordering: .acquiring)
            if bits == 0 { continue }
            let before = words[index].bitwiseOr(bits, ordering: .acquiringAndReleasing).oldValue
            added += (bits & ~before).nonzeroBitCount
        }
        return added
    }

    /// The 64 marks from page `index * 64` on.
    public func word(at index: Int) -> UInt64 {
        precondition(index >= 0 && index < wordCount, "word \(index) of \(wordCount)")
        return words[index].load(ordering: .acquiring)
    }

    /// Takes all 64 marks of a word: they are cleared and returned.
    public func takeWord(at index: Int) -> UInt64 {
        precondition(index >= 0 && index < wordCount, "word \(index) of \(wordCount)")
        return words[index].exchange(0, ordering: .acquiringAndReleasing)
    }

    /// Takes the marks whose bits are set in `bits`, of the 64 from page `index * 64` on; those that were there.
    ///
    /// Of several threads that take the same mark, one gets it.
    public func take(word index: Int, bits: UInt64) -> UInt64 {
        precondition(index >= 0 && index < wordCount, "word \(index) of \(wordCount)")
        return words[index].bitwiseAnd(~bits, ordering: .acquiringAndReleasing).oldValue & bits
    }

    /// Forgets the marks whose bits are set, of the 64 from page `index * 64` on.
    public func clear(word index: Int, bits: UInt64) {
        precondition(index >= 0 && index < wordCount, "word \(index) of \(wordCount)")
        words[index].bitwiseAnd(~bits, ordering: .acquiringAndReleasing)
    }

    private func usableBits(_ word: Int) -> UInt64 {
        let rest = pageCount - word * 64
        return rest >= 64 ? ~0 : (1 << UInt64(rest)) - 1
    }

    private func checkBounds(_ range: PageRange) {
        precondition(range.end.value <= pageCount, "pages to \(range.end.value) of \(pageCount)")
    }

    /// Calls `body` with each word that `range` reaches into, and the mask of its pages there.
    @inline(__always)
    private func forEachWord(of range: PageRange, _ body: (_ word: Int, _ mask: UInt64) -> Void) {
        checkBounds(range)
        var page = range.first.value
        let end = range.end.value
        while page < end {
            let shift = page & 63
            let count = min(64 - shift, end - page)
            let mask = count == 64 ? ~UInt64(0) : ((1 << UInt64(count)) - 1) << UInt64(shift)
            body(page >> 6, mask)
            page += count
        }
    }

    private func firstMarked(from start: Int, to end: Int) -> Int? {
        var page = start
        while page < end {
            let bits = words[page >> 6].load(ordering: .relaxed) >> UInt64(page & 63)
            if bits != 0 {
                let found = page + bits.trailingZeroBitCount
                return found < end ? found : nil
            }
            page = (page | 63) + 1
        }
        return nil
    }

    private func firstClean(from start: Int, to end: Int) -> Int {
        var page = start
        while page < end {
            let bits = ~words[page >> 6].load(ordering: .relaxed) >> UInt64(page & 63)
            if bits != 0 { return min(page + bits.trailingZeroBitCount, end) }
            page = (page | 63) + 1
        }
        return end
    }
}
