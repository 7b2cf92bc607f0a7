import GuestMemory
import MigrationTestSupport
import Testing

@testable import Migration

@Suite("Order of pushing") struct PushOrderTests {
    private func bitmap(_ pageCount: Int, _ marked: [Range<Int>]) -> DirtyBitmap {
        let bitmap = DirtyBitmap(pageCount: pageCount)
        for range in marked {
            bitmap.mark(PageRange(first: PageIndex(range.lowerBound), pageCount: range.count))
        }
        return bitmap
    }

    /// Takes what is proposed, as a source does that sends it.
    private func take(_ order: inout PushOrder, from dirty: [DirtyBitmap]) -> [PageRange]? {
        guard let proposal = order.next() else { return nil }
        var runs: [PageRange] = []
        while let run = dirty[proposal.region].takeFirstRun(in: proposal.range) { runs.append(run) }
        return runs
    }

    @Test func `without requests memory goes in ascending windows`() {
        let dirty = [bitmap(2000, [0..<10, 600..<700, 1990..<2000])]
        var order = PushOrder(dirty: dirty, recent: [bitmap(2000, [])])
        var starts: [Int] = []
        while let runs = take(&order, from: dirty) { starts += runs.map(\.first.value) }
        #expect(starts == [0, 600, 1990])
    }

    @Test func `what was written last goes first`() {
        let dirty = [bitmap(4000, [0..<4000])]
        var order = PushOrder(dirty: dirty, recent: [bitmap(4000, [3000..<3010, 100..<105])])
        let first = take(&order, from: dirty)
        let second = take(&order, from: dirty)
        #expect(first?.map(\.first.value) == [100] && second?.map(\.first.value) == [3000])
        #expect(second?.first?.pageCount == 10)
    }

    @Test func `a request draws the push to both sides of it`() {
        let dirty = [bitmap(8192, [0..<8192])]
        var order = PushOrder(dirty: dirty, recent: [bitmap(8192, [])])
        order.add(region: 0, first: 5000, pageCount: 1)
        let starts = (0..<4).compactMap { _ in take(&order, from: dirty)?.first?.first.value }
        #expect(starts == [5001, 4936, 5065, 4872])
    }

    @Test func `the newest of several requests comes first, and none is forgotten`() {
        let dirty = [bitmap(20000, [0..<20000])]
        var order = PushOrder(dirty: dirty, recent: [bitmap(20000, [])])
        order.add(region: 0, first: 2000, pageCount: 1)
        order.add(region: 0, first: 12000, pageCount: 1)
        let starts = (0..<4).compactMap { _ in take(&order, from: dirty)?.first?.first.value }
        #expect(starts == [12001, 2001, 11936, 1936])
    }

    @Test(arguments: 1...50) func `every page is proposed whatever is asked for meanwhile`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let sizes = [Int.random(in: 1...5000, using: &random), Int.random(in: 1...40, using: &random)]
        let dirty = sizes.map { bitmap($0, []) }
        let recent = sizes.map { bitmap($0, []) }
        var expected = 0
        for (region, size) in sizes.enumerated() {
            for page in 0..<size where random.happens(percent: 60) {
                dirty[region].mark(PageRange(first: PageIndex(page), pageCount: 1))
                if random.happens(percent: 20) { recent[region].mark(PageRange(first: PageIndex(page), pageCount: 1)) }
                expected += 1
            }
        }
        var order = PushOrder(dirty: dirty, recent: recent)
        var sent = 0
        while let runs = take(&order, from: dirty) {
            sent += runs.reduce(0) { $0 + $1.pageCount }
            guard random.happens(percent: 30) else { continue }
            let region = Int.random(in: 0..<2, using: &random)
            let page = Int.random(in: 0..<sizes[region], using: &random)
            // Another channel serves the request.
            let wanted = PageRange(first: PageIndex(page), pageCount: 1)
            if dirty[region].takeFirstRun(in: wanted) != nil { sent += 1 }
            order.add(region: region, first: page, pageCount: 1)
        }
        #expect(sent == expected)
    }
}
