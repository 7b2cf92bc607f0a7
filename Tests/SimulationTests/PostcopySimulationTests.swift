import Glibc
import Migration
import MigrationTestSupport
import Testing

/// Builds a pair that goes over to post-copy, with every property from its seed.
private func randomPostcopyPair(seed: UInt64) throws -> SimulatedPair {
    var random = SeededGenerator(seed: seed ^ 0x9057)
    let unit = [1, 1, 4].randomElement(using: &random) ?? 1
    let pair = try SimulatedPair(
        seed: seed, pageCounts: [unit * Int.random(in: 1...30, using: &random), Int.random(in: 1...3, using: &random)],
        diskCount: Int.random(in: 0...1, using: &random), unitPageCount: unit)
    pair.network.latency = .microseconds(Int.random(in: 0...2000, using: &random))
    pair.network.bytesPerSecond = 2_000_000 << Int.random(in: 0...6, using: &random)
    pair.network.bufferByteCount = 1 << Int.random(in: 12...18, using: &random)
    pair.network.maximumChunk = 1 << Int.random(in: 11...18, using: &random)
    pair.source.writesPerStep = Int.random(in: 0...8, using: &random)
    pair.destination.writesPerStep = Int.random(in: 1...8, using: &random)
    pair.source.hotPageCount = Int.random(in: 1...30, using: &random)
    pair.options.allowsPostcopy = true
    pair.options.dialect.hasPreemptChannel = random.happens(percent: 50)
    pair.options.dialect.channelCount = [0, 0, 0, 2].randomElement(using: &random) ?? 0
    if random.happens(percent: 20) { pair.options.maximumPostcopyBandwidth = 3_000_000 }
    if random.happens(percent: 20) { pair.options.xbzrleCacheByteCount = 16 * 4096 }
    var rule = HybridRule()
    rule.downtimeLimit = .zero
    rule.passLimit = Int.random(in: 0...2, using: &random)
    pair.policy.ending = .hybrid(rule)
    if random.happens(percent: 40) {
        rule.passLimit = 1000
        rule.blockedTimeWeight = 1000
        pair.policy.ending = .hybrid(rule)
        let moment = Duration.microseconds(Int.random(in: 0...10_000, using: &random))
        pair.simulation.after(moment) { [pair] in pair.startPostcopy() }
    }
    return pair
}

/// What may go wrong in one run, chosen by the seed.
private func addTrouble(to pair: SimulatedPair, seed: UInt64) {
    var random = SeededGenerator(seed: seed ^ 0xcafe)
    switch Int.random(in: 0..<9, using: &random) {
    case 0, 1: break
    case 2, 3, 4:
        let count = Int.random(in: 1...4, using: &random)
        pair.cuts = (0..<count).map { _ in .microseconds(Int.random(in: 0...8000, using: &random)) }
    case 7:
        let moment = Duration.microseconds(Int.random(in: 0...30_000, using: &random))
        pair.simulation.after(moment) { [network = pair.network] in network.cut() }
    case 5:
        let operation = Int.random(in: 10...80, using: &random)
        let side = random.happens(percent: 50) ? "source" : "destination"
        pair.network.faults[side] = .init(operation: operation, isPermanent: random.happens(percent: 50))
    case 6:
        for _ in 0..<3 {
            let moment = Duration.microseconds(Int.random(in: 0...60_000, using: &random))
            let isSource = random.happens(percent: 50)
            pair.simulation.after(moment) { [pair] in
                guard pair.attemptCount == 1 else { return }
                if isSource { pair.pauseSource() } else { pair.pauseDestination() }
            }
        }
    default: pair.destination.failingLoad = Int.random(in: 0...2, using: &random)
    }
}

/// Checks that the guest is whole and on exactly one side.
private func checkPostcopy(_ attempt: SimulatedPair.Attempt, of pair: SimulatedPair) throws {
    let story = "seed \(pair.simulation.seed): \(attempt)"
    #expect(!(pair.source.isRunning && pair.destination.isRunning), "runs on both sides, \(story)")
    #expect(pair.source.throttle == .none && !pair.source.isTracking, "still tracked, \(story)")
    guard attempt.destinationHasGuest else {
        // Only a guest that has never run at the destination may be here.
        #expect(attempt.source != .completed, "the guest is nowhere, \(story)")
        #expect(pair.source.isRunning || attempt.source == .uncertain, "stands still, \(story)")
        if attempt.source == .uncertain { pair.continueSourceAfterLook() }
        try pair.renewDestination()
        pair.destination.writesPerStep = 3
        pair.cuts = []
        var rule = HybridRule()
        rule.downtimeLimit = .zero
        rule.passLimit = 1
        pair.policy.ending = .hybrid(rule)
        let second = pair.migrate()
        let again = "seed \(pair.simulation.seed), second attempt: \(second)"
        #expect(second.source == .completed && second.destinationHasGuest && second.isEqual, "\(again)")
        return
    }
    #expect(attempt.isEqual, "memory differs, \(story)")
    #expect(pair.destination.isRunning && !pair.source.isRunning, "on the wrong side, \(story)")
    #expect(attempt.source != .failed, "the source believes it failed, \(story)")
    guard let postcopy = attempt.received.postcopy else { return }
    #expect(attempt.source == .completed, "the source was never told, \(story)")
    #expect(postcopy.missingPageCount == 0 && postcopy.waitingPageCount == 0, "pages are missing, \(story)")
    if pair.recoveryCount == 0 && attempt.source == .completed {
        let sent = attempt.statistics.postcopy
        #expect(
            sent.firstPageCount + sent.pushedPageCount + sent.requestedPageCount
                == pair.destination.missing?.installedPageCount,
            "pages were sent twice, \(story)")
    }
}

/// A machine that nobody need keep.
private struct Unowned {
    weak var machine: SimulatedMachine?
}

@Suite("Simulated post-copies") struct PostcopySimulationTests {
    /// Ten thousand seeds in four parts, which run at once; `APUS_SEEDS=n` takes another number of them in all.
    @Test(arguments: 0..<4) func `ten thousand seeds leave a whole guest on exactly one side`(part: Int) throws {
        let seeds = seedRange(ofPart: part)
        print("simulating post-copies of seeds \(seeds); APUS_SEED=n repeats one")
        var arrived = 0
        var recoveries = 0
        var faults = 0
        var farewells = 0
        for seed in seeds {
            let pair = try randomPostcopyPair(seed: seed)
            addTrouble(to: pair, seed: seed)
            let attempt = pair.migrate()
            try checkPostcopy(attempt, of: pair)
            pair.simulation.finish()
            if attempt.destinationHasGuest { arrived += 1 }
            recoveries += pair.recoveryCount
            farewells += pair.farewellCount
            faults += attempt.received.postcopy?.faultCount ?? 0
        }
        print(
            "\(arrived) of \(seeds.count) arrived at once, with \(recoveries) recoveries, \(farewells) of sources that came "
                + "too late, and \(faults) faults")
        // A simulation in which nothing is ever fetched or cut checks nothing.
        if seeds.count >= 250 {
            #expect(arrived > seeds.count / 2 && recoveries > seeds.count / 12 && faults > seeds.count)
            #expect(farewells > 0)
        }
    }

    /// Migrations that keep their machines were found out by a process that had no mappings left after 4000 of them.
    @Test func `a post-copy that is over keeps nothing of its machines`() throws {
        var machines: [Unowned] = []
        var postcopyCount = 0
        for seed in 1...60 as ClosedRange<UInt64> {
            let pair = try randomPostcopyPair(seed: seed)
            addTrouble(to: pair, seed: seed)
            let attempt = pair.migrate()
            pair.simulation.finish()
            machines += [Unowned(machine: pair.source), Unowned(machine: pair.destination)]
            if attempt.received.postcopy != nil { postcopyCount += 1 }
        }
        // A thread may let go of what it had a moment after its last turn.
        let end = ContinuousClock.now + .seconds(20)
        while machines.contains(where: { $0.machine != nil }), ContinuousClock.now < end { usleep(1000) }
        #expect(machines.count { $0.machine != nil } == 0)
        #expect(postcopyCount > 30)
    }

    @Test(arguments: [5 as UInt64, 23, 77]) func `a seed repeats its post-copy exactly`(seed: UInt64) throws {
        func run() throws -> (UInt64, Duration, SimulatedPair.Attempt) {
            let pair = try randomPostcopyPair(seed: seed)
            addTrouble(to: pair, seed: seed)
            let attempt = pair.migrate()
            pair.simulation.finish()
            return (pair.simulation.trace, pair.simulation.clock, attempt)
        }
        let first = try run()
        let second = try run()
        #expect(first.0 == second.0)
        #expect(first.1 == second.1)
        #expect(first.2.statistics == second.2.statistics && first.2.received == second.2.received)
    }
}
