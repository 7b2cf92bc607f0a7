import Migration
import Testing

@Suite("Classic rule") struct ClassicRuleTests {
    let policy = MigrationPolicy(ending: .classic(ClassicRule()))

    private func pass(_ number: Int, sent: Int, dirtied: Int) -> PassStatistics {
        PassStatistics(
            pass: number, duration: .seconds(1), elapsed: .seconds(number), sentPageCount: sent,
            sentByteCount: sent * 4096, dirtiedPageCount: dirtied, remainingByteCount: dirtied * 4096)
    }

    @Test(arguments: [(0, true), (1, true), (50, true), (51, false), (1000, false)])
    func `stops at fifty dirty pages and not at fifty-one`(dirtied: Int, stops: Bool) {
        var policy = policy
        let decision = policy.decide(after: pass(1, sent: 100_000, dirtied: dirtied))
        #expect(decision == (stops ? .switchOver(.fewPagesLeft) : .anotherPass))
    }

    @Test(arguments: [(999, true), (1000, false), (1001, false)])
    func `stops when a pass sent fewer pages than were dirtied`(sent: Int, stops: Bool) {
        var policy = policy
        let decision = policy.decide(after: pass(2, sent: sent, dirtied: 1000))
        #expect(decision == (stops ? .switchOver(.notConverging) : .anotherPass))
    }

    @Test(arguments: [(29, false), (30, true), (31, true)])
    func `stops after thirty passes`(number: Int, stops: Bool) {
        var policy = policy
        let decision = policy.decide(after: pass(number, sent: 1000, dirtied: 1000))
        #expect(decision == (stops ? .switchOver(.passLimit) : .anotherPass))
    }

    @Test func `stops a guest whose dirty rate grows as soon as it overtakes the link`() {
        // 0.05 B at the start, growing by 0.1 B a second: V' = V (0.05 + 0.1 t), above V from t = 9.5 s on.
        let growing = SyntheticSeries(memoryByteCount: gibibyte, bandwidth: 100e6) { start, duration, _ in
            (5e6 + 10e6 * start) * duration
        }
        let outcome = growing.run(policy)
        #expect(outcome.decisions == [.anotherPass, .switchOver(.notConverging)])
        #expect(outcome.totalTime > 9.5)
    }

    @Test func `ends a guest at 90 percent of the link within thirty passes`() {
        let outcome = SyntheticSeries.uniform(memory: gibibyte, bandwidth: 100e6, rate: 90e6).run(policy)
        #expect(outcome.passes.count == 30)
        #expect(outcome.decisions.last == .switchOver(.passLimit))
    }
}

@Suite("Downtime limit rule") struct DowntimeLimitRuleTests {
    private func policy(limit: Duration) -> MigrationPolicy {
        var rule = DowntimeLimitRule()
        rule.limit = limit
        rule.patience = 0
        return MigrationPolicy(ending: .downtimeLimit(rule))
    }

    // n = ceil(ln((limit - fixed) B / M) / ln lambda) passes after the first make the remainder small enough.
    // 64 GiB at 11.8 GB/s, 20 ms: 0.1 -> 3, 0.5 -> 9, 0.8 -> 26, 0.95 -> 111.
    @Test(arguments: [(0.1, 3), (0.5, 9), (0.8, 26), (0.95, 111)])
    func `takes the passes of the uniform model`(lambda: Double, passCount: Int) {
        let series = SyntheticSeries.uniform(memory: 64 * gibibyte, bandwidth: 11.8e9, rate: lambda * 11.8e9)
        let outcome = series.run(policy(limit: .milliseconds(20)))
        #expect(outcome.passes.count == passCount)
        #expect(outcome.decisions.last == .switchOver(.downtimeLimit))
        #expect(outcome.downtime <= .milliseconds(20))
    }

    // total = M/B (1 - lambda^(n+1)) / (1 - lambda): 2 s · (1 - 1/2^n) rounds to the sum of the halves.
    @Test func `takes the total time of the uniform model`() {
        let series = SyntheticSeries.uniform(memory: 1_000_001_536, bandwidth: 1e9, rate: 0.5e9)
        let outcome = series.run(policy(limit: .milliseconds(100)))
        #expect(outcome.passes.count == 4)
        #expect(abs(outcome.totalTime - 1.9375) < 0.001)
    }

    @Test func `counts the fixed part of the downtime`() {
        var series = SyntheticSeries.uniform(memory: gibibyte, bandwidth: 1e9, rate: 0.5e9)
        let without = series.run(policy(limit: .milliseconds(100)))
        series.fixedDowntime = .milliseconds(80)
        let with = series.run(policy(limit: .milliseconds(100)))
        #expect(with.passes.count > without.passes.count)
        #expect(with.downtime <= .milliseconds(100))
    }

    @Test func `stops with nothing left even if the fixed part is above the limit`() {
        var series = SyntheticSeries.uniform(memory: gibibyte, bandwidth: 1e9, rate: 0)
        series.fixedDowntime = .milliseconds(80)
        let outcome = series.run(policy(limit: .milliseconds(10)))
        #expect(outcome.decisions == [.switchOver(.fewPagesLeft)])
    }

    // The map V' = U(V/B) has a fixed point above 0 when the slope at 0 exceeds the bandwidth.
    @Test func `never ends with a hot set that is written faster than the link`() {
        let series = SyntheticSeries.hotSet(memory: 4 * gibibyte, bandwidth: 1e9, workingSet: 1e9, rate: 4e9)
        let outcome = series.run(policy(limit: .milliseconds(100)), maximumPassCount: 200)
        #expect(outcome.decisions.allSatisfy { $0 == .anotherPass })
        // V* solves V = W (1 - exp(-4 V / W)): 0.9802 W.
        #expect(abs(Double(outcome.sentByteCounts.last ?? 0) / 1e9 - 0.9802) < 0.001)
    }

    @Test func `ends with a hot set that fits the downtime`() {
        let series = SyntheticSeries.hotSet(memory: 4 * gibibyte, bandwidth: 1e9, workingSet: 50e6, rate: 4e9)
        let outcome = series.run(policy(limit: .milliseconds(100)))
        #expect(outcome.decisions == [.switchOver(.downtimeLimit)])
    }

    @Test func `waits for the quiet after a burst`() {
        let series = SyntheticSeries(memoryByteCount: gibibyte, bandwidth: 1e9) { start, duration, _ in
            start < 3 ? 0.9e9 * duration : 0.01e9 * duration
        }
        let outcome = series.run(policy(limit: .milliseconds(50)))
        #expect(outcome.decisions.last == .switchOver(.downtimeLimit))
        #expect(outcome.totalTime > 3 && outcome.totalTime < 5)
    }

    @Test func `goes on below the limit while passes halve the rest`() {
        let series = SyntheticSeries.uniform(memory: 1_000_001_536, bandwidth: 1e9, rate: 0.5e9)
        let outcome = series.run(MigrationPolicy())
        #expect(outcome.decisions == [.anotherPass, .anotherPass, .switchOver(.downtimeLimit)])
        #expect(abs(outcome.downtime / .milliseconds(1) - 125) < 1)
    }

    @Test func `goes on below the limit for no more than a tenth of the time`() {
        // 0.85^8 s = 272 ms after 4.84 s; two more passes take 0.5 s.
        let series = SyntheticSeries.uniform(memory: 1_000_001_536, bandwidth: 1e9, rate: 0.85e9)
        let outcome = series.run(MigrationPolicy())
        #expect(outcome.passes.count == 10)
        #expect(abs(outcome.downtime / .milliseconds(1) - 197) < 1)
    }

    @Test func `does not go on below the limit where passes leave as much as they find`() {
        let series = SyntheticSeries.hotSet(memory: 4 * gibibyte, bandwidth: 1e9, workingSet: 200e6, rate: 8e9)
        #expect(series.run(MigrationPolicy()).decisions == [.anotherPass, .switchOver(.downtimeLimit)])
    }

    @Test func `ends a pass as soon as half of the limit is left, or a tenth of the time is over`() {
        var policy = MigrationPolicy()
        #expect(policy.ending(remainingByteCount: 1, fixedDowntime: .zero, elapsed: .seconds(1)) == nil)
        let first = PassStatistics(
            pass: 1, duration: .seconds(10), elapsed: .seconds(10), sentPageCount: 250_000,
            sentByteCount: 1_000_000_000, dirtiedPageCount: 100_000, remainingByteCount: 409_600_000,
            backPressure: BackPressure(byteCount: 1_000_000_000, duration: .seconds(1)))
        #expect(policy.decide(after: first) == .anotherPass)
        func look(_ mebibytes: Int, at seconds: Double) -> Decision? {
            policy.ending(
                remainingByteCount: mebibytes << 20, fixedDowntime: .milliseconds(5), elapsed: .seconds(seconds))
        }
        #expect(look(290, at: 11) == nil)
        #expect(look(200, at: 12) == nil)
        #expect(look(200, at: 13) == nil)
        #expect(look(290, at: 14) == nil)
        #expect(look(200, at: 13.3) == .switchOver(.downtimeLimit))
        #expect(look(130, at: 12.5) == .switchOver(.downtimeLimit))
    }

    @Test(arguments: [(295, true), (305, false)])
    func `under a bandwidth limit it stops as soon as the downtime would be within its own`(
        milliseconds: Int, stops: Bool
    ) {
        let bytesPerSecond = 16_000_000
        let left = bytesPerSecond * milliseconds / 1000
        func pass(isLimited: Bool) -> PassStatistics {
            PassStatistics(
                pass: 2, duration: .seconds(1), elapsed: .seconds(8), sentPageCount: bytesPerSecond / 4096,
                sentByteCount: bytesPerSecond, dirtiedPageCount: left / 4096, remainingByteCount: left,
                isLimited: isLimited)
        }
        var limited = MigrationPolicy()
        #expect(limited.decide(after: pass(isLimited: true)) == (stops ? .switchOver(.downtimeLimit) : .anotherPass))
        let ending = limited.ending(
            remainingByteCount: left, fixedDowntime: .zero, elapsed: .seconds(8), isLimited: true)
        #expect(ending == (stops ? .switchOver(.downtimeLimit) : nil))
        var free = MigrationPolicy()
        #expect(free.decide(after: pass(isLimited: false)) == .anotherPass)
    }

    @Test func `slows nobody down who is within the limit`() {
        var policy = MigrationPolicy(throttling: .stun(StunThrottle()))
        // 250 MB in 0.25 s, of the 300 MB that the pass sent: the stun's threshold is half of them.
        let pass = PassStatistics(
            pass: 2, duration: .milliseconds(300), elapsed: .seconds(10), sentPageCount: 73_242,
            sentByteCount: 300_000_000, dirtiedPageCount: 61_035, remainingByteCount: 250_000_000,
            backPressure: BackPressure(byteCount: 300_000_000, duration: .milliseconds(300)))
        #expect(policy.decide(after: pass) == .anotherPass)
    }

    @Test func `follows a link that became slower`() {
        var estimate = BandwidthEstimate()
        let fast = BackPressure(byteCount: 100_000_000, duration: .milliseconds(100))
        let slow = BackPressure(byteCount: 10_000_000, duration: .milliseconds(100))
        for (number, sample) in [fast, slow, slow, slow, slow, slow].enumerated() {
            estimate.add(
                PassStatistics(
                    pass: number + 1, duration: .seconds(1), elapsed: .seconds(number), sentPageCount: 1,
                    sentByteCount: 4096, dirtiedPageCount: 1, remainingByteCount: 4096, backPressure: sample))
        }
        #expect(abs((estimate.bytesPerSecond ?? 0) / 1e8 - 1.28) < 0.01)
    }

    @Test func `takes what was sent as a lower bound while nothing pushed back`() {
        var estimate = BandwidthEstimate()
        estimate.add(
            PassStatistics(
                pass: 1, duration: .seconds(1), elapsed: .seconds(1), sentPageCount: 25_000, sentByteCount: 102_400_000,
                dirtiedPageCount: 10, remainingByteCount: 40_960))
        #expect(estimate.bytesPerSecond == 102_400_000)
    }
}

@Suite("Hybrid rule") struct HybridRuleTests {
    private func policy(passLimit: Int = 8) -> MigrationPolicy {
        var rule = HybridRule()
        rule.passLimit = passLimit
        return MigrationPolicy(ending: .hybrid(rule))
    }

    @Test func `goes to post-copy as soon as passes stop shrinking`() {
        let series = SyntheticSeries.hotSet(memory: 64 * gibibyte, bandwidth: 1.25e9, workingSet: 4e9, rate: 8e9)
        let outcome = series.run(policy())
        #expect(outcome.passes.count <= 3)
        #expect(outcome.decisions.last.map { if case .goPostcopy = $0 { true } else { false } } == true)
        // Bytes <= M + V*: the hot set was sent a few times at most.
        #expect(outcome.sentByteCounts.reduce(0, +) < 64 * gibibyte + 3 * 4_000_000_000)
    }

    @Test func `ends in pre-copy when the guest is quiet`() {
        let series = SyntheticSeries.uniform(memory: 8 * gibibyte, bandwidth: 1.25e9, rate: 1e6)
        #expect(series.run(policy()).decisions.last == .switchOver(.downtimeLimit))
    }

    @Test func `goes on with passes that halve the rest`() {
        let series = SyntheticSeries.uniform(memory: 8 * gibibyte, bandwidth: 1e9, rate: 0.25e9)
        let outcome = series.run(policy())
        #expect(outcome.passes.count > 2)
        #expect(outcome.decisions.last == .switchOver(.downtimeLimit))
    }

    @Test func `goes to post-copy after one pass when told so`() {
        let series = SyntheticSeries.uniform(memory: 8 * gibibyte, bandwidth: 1e9, rate: 0.5e9)
        #expect(series.run(policy(passLimit: 1)).decisions == [.goPostcopy(.passLimit)])
    }
}
