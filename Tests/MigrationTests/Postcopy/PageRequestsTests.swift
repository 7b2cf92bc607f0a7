import GuestMemory
import LinuxSystem
import MigrationStream
import Synchronization
import Testing

@testable import Migration

@Suite("Requests for pages") struct PageRequestsTests {
    private func requests() throws -> PageRequests {
        let block = RAMBlock(name: "ram", mapping: try MemoryMapping(.anonymousSmallPages, byteCount: 64 * 4096))
        return PageRequests(
            regions: [MemoryRegion(block: block, beginsAsZero: true, unitPageCount: 4)], runtime: SystemRuntime())
    }

    private func request(_ page: Int, _ count: Int = 4, block: String? = nil) -> PageRequest {
        PageRequest(block: block, blockOffset: UInt64(page * 4096), byteCount: UInt32(count * 4096))
    }

    @Test func `the newest comes first, and the same again is joined`() throws {
        let requests = try requests()
        for page in [0, 8, 4, 8, 8] { try requests.add(request(page, block: "ram")) }
        #expect((0..<4).map { _ in requests.takeNewest()?.first } == [4, 8, 0, nil])
        #expect(requests.counts == (5, 2))
        #expect(requests.takePivots().map(\.first) == [0, 8, 4, 8, 8])
    }

    @Test func `a request without a block is for the block of the last one`() throws {
        let requests = try requests()
        #expect(throws: MigrationError.self) { try requests.add(request(0)) }
        try requests.add(request(0, block: "ram"))
        try requests.add(request(4))
        #expect(requests.takeNewest()?.first == 4)
        requests.begin()
        #expect(throws: MigrationError.self) { try requests.add(request(0)) }
    }

    @Test(arguments: [(1, 4), (0, 3), (64, 4), (60, 8), (0, 0), (1 << 40, 4)])
    func `pages that are no pages of the block are refused`(page: Int, count: Int) throws {
        let requests = try requests()
        #expect(throws: MigrationError.self) { try requests.add(request(page, count, block: "ram")) }
        #expect(throws: MigrationError.self) { try requests.add(request(0, block: "other")) }
        #expect(requests.takeNewest() == nil)
    }

    @Test func `what is anticipated comes in its order, behind everything that was asked for`() throws {
        let requests = try requests()
        requests.anticipate(
            [8, 0].map { RegionPages(region: 0, range: PageRange(first: PageIndex($0), pageCount: 4)) })
        #expect(requests.onlyAnticipates && !requests.isWaited)
        try requests.add(request(4, block: "ram"))
        #expect(!requests.onlyAnticipates && requests.isWaited)
        let taken = (0..<3).compactMap { _ in requests.takeNewest() }
        #expect(taken.map(\.first) == [4, 8, 0] && taken.map(\.isAnticipated) == [false, true, true])
        #expect(requests.takeNewest() == nil && !requests.onlyAnticipates && requests.counts == (1, 0))
    }

    @Test func `the thread that adds requests has the newest served, and leaves the others`() throws {
        let requests = try requests()
        let served = Mutex<[Int]>([])
        requests.setServer {
            if let request = requests.takeWaiting() { served.withLock { $0.append(request.first) } }
        }
        requests.serveNewest()
        try requests.add(request(0, block: "ram"))
        try requests.add(request(4, block: "ram"))
        requests.serveNewest()
        #expect(served.withLock { $0 } == [4])
        requests.setServer(nil)
        requests.serveNewest()
        #expect(served.withLock { $0 } == [4] && requests.takeNewest()?.first == 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `who tries again is woken by whoever was in the way`() throws {
        let requests = try requests()
        let attempts = Atomic(0)
        let runtime = SystemRuntime()
        let hasTried = runtime.makeGate()
        let thread = try runtime.startThread("tries") {
            requests.retryWhenWoken {
                hasTried.open()
                return attempts.wrappingAdd(1, ordering: .relaxed).newValue == 2
            }
        }
        #expect(hasTried.wait(until: nil))
        requests.wakeUrgent()
        thread.join()
        #expect(attempts.load(ordering: .relaxed) == 2)
    }

    @Test func `who waits gets what is left, and then the end`() throws {
        let requests = try requests()
        try requests.add(request(0, block: "ram"))
        requests.end()
        #expect(requests.waitForRequest() == .init(region: 0, first: 0, pageCount: 4))
        #expect(requests.waitForRequest() == nil)
    }
}

@Suite("Latencies") struct LatencyHistogramTests {
    @Test func `quantiles are right within a sixteenth`() throws {
        var histogram = LatencyHistogram()
        for microseconds in 1...1000 { histogram.add(.microseconds(microseconds)) }
        let median = try #require(histogram.quantile(0.5))
        let percentile = try #require(histogram.quantile(0.99))
        #expect(median >= .microseconds(500) && median <= .microseconds(532))
        #expect(percentile >= .microseconds(990) && percentile <= .microseconds(1000))
        #expect(histogram.maximum == .microseconds(1000) && histogram.count == 1000)
        #expect(histogram.total == .microseconds(500_500))
        #expect(histogram.countsByMicroseconds.reduce(0, +) == 1000)
    }

    @Test(arguments: [0, 1, 15, 16, 17, 31, 32, 1_000_000, 3_600_000_000_000])
    func `a single value is its own quantile`(nanoseconds: Int) {
        var histogram = LatencyHistogram()
        histogram.add(.nanoseconds(nanoseconds))
        #expect(histogram.quantile(0) == .nanoseconds(nanoseconds))
        #expect(histogram.quantile(1) == .nanoseconds(nanoseconds))
    }

    @Test func `nothing has no quantile`() { #expect(LatencyHistogram().quantile(0.5) == nil) }
}
