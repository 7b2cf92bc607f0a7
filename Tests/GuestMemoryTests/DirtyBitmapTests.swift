import GuestMemory
import Testing

@Suite("Dirty bitmap") struct DirtyBitmapTests {
    private func pages(_ range: Range<Int>) -> PageRange {
        PageRange(first: PageIndex(range.lowerBound), pageCount: range.count)
    }

    @Test func `a marked range is dirty and nothing beside it is`() {
        let bitmap = DirtyBitmap(pageCount: 200)
        bitmap.mark(pages(60..<130))
        #expect((0..<200).filter { bitmap.contains(PageIndex($0)) } == Array(60..<130))
        #expect(bitmap.count == 70)
    }

    @Test func `marking all leaves the unused bits of the last word clear`() {
        let bitmap = DirtyBitmap(pageCount: 70)
        bitmap.markAll()
        #expect(bitmap.word(at: 0) == .max)
        #expect(bitmap.word(at: 1) == 0b111111)
        #expect(bitmap.count == 70)
    }

    @Test func `runs come out in order across words and only once`() {
        let bitmap = DirtyBitmap(pageCount: 300)
        for run in [0..<1, 63..<65, 100..<228, 299..<300] { bitmap.mark(pages(run)) }
        var runs: [PageRange] = []
        let all = pages(0..<300)
        while let run = bitmap.takeFirstRun(in: all) { runs.append(run) }
        #expect(runs == [pages(0..<1), pages(63..<65), pages(100..<228), pages(299..<300)])
        #expect(bitmap.count == 0)
    }

    @Test func `a run is cut at the limit and the rest stays marked`() {
        let bitmap = DirtyBitmap(pageCount: 500)
        bitmap.mark(pages(10..<400))
        #expect(bitmap.takeFirstRun(in: pages(0..<500), limit: 256) == pages(10..<266))
        #expect(bitmap.firstRun(in: pages(0..<500)) == pages(266..<400))
    }

    @Test func `a run does not reach out of the range asked for`() {
        let bitmap = DirtyBitmap(pageCount: 256)
        bitmap.markAll()
        #expect(bitmap.takeFirstRun(in: pages(100..<120)) == pages(100..<120))
        #expect(bitmap.count == 236)
        #expect(bitmap.firstRun(in: pages(100..<120)) == nil)
    }

    @Test func `merging a kernel log counts only what was clean before`() {
        let bitmap = DirtyBitmap(pageCount: 130)
        bitmap.mark(pages(0..<2))
        let log: [UInt64] = [0b1011, 0, .max]
        // Pages 0, 1 were marked; 3, 128 and 129 are new; the other bits of the last word are no pages.
        #expect(bitmap.merge(log: log.span) == 3)
        #expect((0..<130).filter { bitmap.contains(PageIndex($0)) } == [0, 1, 3, 128, 129])
    }

    @Test func `a log that begins at a later word lands there`() {
        let bitmap = DirtyBitmap(pageCount: 256)
        let log: [UInt64] = [1]
        #expect(bitmap.merge(log: log.span, firstPage: PageIndex(128)) == 1)
        #expect(bitmap.firstRun(in: pages(0..<256)) == pages(128..<129))
    }

    @Test func `putting marks back adds them to newer ones`() {
        let bitmap = DirtyBitmap(pageCount: 100)
        let taken = DirtyBitmap(pageCount: 100)
        bitmap.mark(pages(5..<7))
        taken.mark(pages(6..<10))
        #expect(bitmap.merge(taken) == 3)
        #expect(bitmap.firstRun(in: pages(0..<100)) == pages(5..<10))
    }

    @Test func `a random sequence of marks and takes agrees with a set of pages`() {
        var generator = SystemRandomNumberGenerator()
        let seed = UInt64.random(in: .min ... .max, using: &generator)
        var random = Xorshift(state: seed | 1)
        let bitmap = DirtyBitmap(pageCount: 777)
        var model = Set<Int>()
        for _ in 0..<5000 {
            let first = Int(random.next() % 777)
            let range = first..<min(777, first + Int(random.next() % 130))
            switch random.next() % 3 {
            case 0:
                bitmap.mark(pages(range))
                model.formUnion(range)
            case 1:
                bitmap.clear(pages(range))
                model.subtract(range)
            default:
                let run = bitmap.takeFirstRun(in: pages(range), limit: 40)
                let start = range.first { model.contains($0) }
                let expected = start.map { start in
                    start..<(start..<min(range.upperBound, start + 40)).prefix { model.contains($0) }.endIndex
                }
                #expect(run == expected.map(pages), "seed \(seed)")
                if let expected { model.subtract(expected) }
            }
        }
        #expect(bitmap.count == model.count, "seed \(seed)")
    }
}

struct Xorshift: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
