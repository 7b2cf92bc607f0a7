import Testing

@testable import Migration

@Suite("How much may wait to be read") struct UnreadLimitTests {
    /// Limits that are set while `rate` bytes come each second for a while, asked every millisecond.
    private func limits(rate: Int, roundTrip: Duration?, milliseconds: Int = 50) -> [Int] {
        var limit = UnreadLimit()
        return (0...milliseconds).compactMap { time in
            limit.next(byteCount: rate / 1000 * time, at: .milliseconds(time)) { roundTrip }
        }
    }

    @Test func `a little is let through at once, and that is all on a slow or short link`() {
        #expect(limits(rate: 100_000_000, roundTrip: .milliseconds(1)) == [UnreadLimit.least])
        #expect(limits(rate: 400_000_000, roundTrip: .microseconds(50)) == [UnreadLimit.least])
        #expect(limits(rate: 10_000_000_000, roundTrip: nil) == [UnreadLimit.least])
    }

    @Test func `a long link gets twice what it holds`() {
        #expect(limits(rate: 1_000_000_000, roundTrip: .milliseconds(10)) == [UnreadLimit.least, 20_000_000])
    }

    @Test func `on a short link it is what comes in a millisecond`() {
        #expect(limits(rate: 6_000_000_000, roundTrip: .microseconds(20)) == [UnreadLimit.least, 6_000_000])
    }

    @Test func `it is only ever raised`() {
        var limit = UnreadLimit()
        var byteCount = 0
        var set: [Int] = []
        for (time, rate) in [1, 4, 2, 0, 3, 8].enumerated() {
            byteCount += rate * 1_000_000 * 10
            let next = limit.next(byteCount: byteCount, at: .milliseconds(10 * time)) { .milliseconds(1) }
            if let next { set.append(next) }
        }
        #expect(set == [UnreadLimit.least, 8_000_000, 16_000_000])
    }
}
