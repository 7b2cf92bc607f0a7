import Migration
import Testing

@Suite("Throttles") struct ThrottlePolicyTests {
    /// Dirties at 1.5 times the link's speed in memory that is large enough to never end by itself.
    let unstoppable = SyntheticSeries.uniform(memory: 4 * gibibyte, bandwidth: 1e9, rate: 1.5e9)

    private func downtimePolicy(_ throttling: ThrottlePolicy) -> MigrationPolicy {
        MigrationPolicy(throttling: throttling)
    }

    @Test func `without one such a guest never ends`() {
        let outcome = unstoppable.run(downtimePolicy(.off), maximumPassCount: 100)
        #expect(outcome.passes.count == 100)
    }

    @Test func `auto-converge ends it in steps of QEMU's parameters`() {
        let outcome = unstoppable.run(downtimePolicy(.autoConverge(AutoConverge())))
        #expect(outcome.decisions.last == .switchOver(.downtimeLimit))
        let percentages = outcome.decisions.compactMap { decision -> Int? in
            if case .throttle(.percentage(let percentage)) = decision { percentage } else { nil }
        }
        #expect(percentages.starts(with: [20, 30, 40, 50]))
    }

    @Test func `auto-converge waits for two alarms`() {
        let outcome = unstoppable.run(downtimePolicy(.autoConverge(AutoConverge())))
        #expect(outcome.decisions.prefix(2) == [.anotherPass, .throttle(.percentage(20))])
    }

    @Test func `auto-converge leaves a guest alone that dirties less than the threshold`() {
        let calm = SyntheticSeries.uniform(memory: 64 * gibibyte, bandwidth: 1e9, rate: 0.49e9)
        let outcome = calm.run(downtimePolicy(.autoConverge(AutoConverge())))
        let untouched = outcome.decisions.dropLast().allSatisfy { $0 == .anotherPass }
        #expect(untouched)
    }

    @Test func `auto-converge stops at its maximum`() {
        var autoConverge = AutoConverge()
        autoConverge.maximum = 45
        let stubborn = SyntheticSeries.uniform(memory: 4 * gibibyte, bandwidth: 1e9, rate: 20e9)
        let outcome = stubborn.run(downtimePolicy(.autoConverge(autoConverge)), maximumPassCount: 50)
        let percentages = outcome.decisions.compactMap { decision -> Int? in
            if case .throttle(.percentage(let percentage)) = decision { percentage } else { nil }
        }
        #expect(percentages == [20, 30, 40, 45])
    }

    @Test func `tail slow takes smaller steps near the end`() {
        // Just above the trigger's 50 percent, 80 percent speed nearly suffices: a full step of 10 is not needed.
        var autoConverge = AutoConverge()
        autoConverge.hasTailSlow = true
        autoConverge.downtimeLimit = .milliseconds(900)
        var rule = DowntimeLimitRule()
        rule.limit = .milliseconds(300)
        var policy = MigrationPolicy(ending: .downtimeLimit(rule), throttling: .autoConverge(autoConverge))
        var last = Decision.anotherPass
        for number in 1...4 {
            last = policy.decide(
                after: PassStatistics(
                    pass: number, duration: .milliseconds(1100), elapsed: .milliseconds(1100 * number),
                    sentPageCount: 250_000, sentByteCount: 1_024_000_000, dirtiedPageCount: 225_000,
                    remainingByteCount: 921_600_000,
                    backPressure: BackPressure(byteCount: 1_000_000_000, duration: .seconds(1))))
        }
        // cpu_now = 80, ideal = 80 · 0.9e9 / 0.9216e9 = 78.1: a step of 1.
        #expect(last == .throttle(.percentage(21)))
    }

    @Test func `the stun ends it and halves its limit when that does not suffice`() {
        let outcome = unstoppable.run(downtimePolicy(.stun(StunThrottle())))
        #expect(outcome.decisions.last == .switchOver(.downtimeLimit))
        // 40 faults in 10 ms are 16 MB/s: far below the link, so the first limit suffices.
        #expect(outcome.decisions.contains(.throttle(.stun(writeFaultLimit: 40, period: .milliseconds(10)))))
        #expect(!outcome.decisions.contains(.throttle(.stun(writeFaultLimit: 20, period: .milliseconds(10)))))
    }

    @Test func `the dirty limit ends it`() {
        var limit = DirtyLimit()
        limit.bytesPerSecond = 100_000_000
        let outcome = unstoppable.run(downtimePolicy(.dirtyLimit(limit)))
        #expect(outcome.decisions.last == .switchOver(.downtimeLimit))
        #expect(outcome.decisions.contains(.throttle(.dirtyLimit([100_000_000]))))
    }

    @Test func `the dirty limit without a quota divides the link among the virtual CPUs that write`() {
        var limit = DirtyLimit()
        limit.bytesPerSecond = nil
        var series = unstoppable
        series.virtualCPUCount = 4
        let outcome = series.run(downtimePolicy(.dirtyLimit(limit)))
        // Only the first virtual CPU writes: it gets 70 percent of 1 GB/s, the others are not limited.
        #expect(outcome.decisions.contains(.throttle(.dirtyLimit([700_000_000, nil, nil, nil]))))
        #expect(outcome.decisions.last == .switchOver(.downtimeLimit))
    }
}

@Suite("Timeout") struct TimeoutTests {
    private func lastDecision(_ action: MigrationPolicy.Timeout.Action) -> Decision? {
        let policy = MigrationPolicy(timeout: .init(limit: .seconds(20), action: action))
        return SyntheticSeries.uniform(memory: 4 * gibibyte, bandwidth: 1e9, rate: 1.5e9).run(policy).decisions.last
    }

    @Test func `suspends`() { #expect(lastDecision(.suspend) == .switchOver(.timeout)) }
    @Test func `cancels`() { #expect(lastDecision(.cancel) == .giveUp(.timeout)) }
    @Test func `goes to post-copy`() { #expect(lastDecision(.postcopy) == .goPostcopy(.timeout)) }

    @Test func `leaves a migration alone that ends in time`() {
        let policy = MigrationPolicy(timeout: .init(limit: .seconds(20), action: .cancel))
        let outcome = SyntheticSeries.uniform(memory: 4 * gibibyte, bandwidth: 1e9, rate: 1e6).run(policy)
        #expect(outcome.decisions == [.switchOver(.downtimeLimit)])
    }

    @Test func `answers during a pass as well`() {
        let policy = MigrationPolicy(timeout: .init(limit: .seconds(20), action: .cancel))
        #expect(policy.interruption(at: .milliseconds(19_999)) == nil)
        #expect(policy.interruption(at: .seconds(20)) == .giveUp(.timeout))
    }
}
