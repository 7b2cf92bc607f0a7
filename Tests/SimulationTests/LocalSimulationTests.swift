import Migration
import MigrationTestSupport
import Testing

/// Memory handed over instead of copied: the same memory on both sides, and the guest on one of them.
@Suite("Simulated hand-overs of memory") struct LocalSimulationTests {
    private func pair(seed: UInt64, disks: Int = 1, sharesMemory: Bool = true) throws -> SimulatedPair {
        let pair = try SimulatedPair(
            seed: seed, pageCounts: [40, 2], diskCount: disks, sharesMemory: sharesMemory)
        pair.options.dialect.isLocal = true
        pair.source.writesPerStep = 4
        return pair
    }

    @Test(arguments: [1 as UInt64, 2, 3, 4]) func `a guest moves and no page of shared memory is sent`(
        seed: UInt64
    ) throws {
        let pair = try pair(seed: seed)
        let attempt = pair.migrate()
        #expect(attempt.source == .completed && attempt.destinationHasGuest && attempt.isEqual, "\(attempt)")
        // The other block is private: its two pages are copied, perhaps in several passes.
        let sent = attempt.statistics.normalPageCount + attempt.statistics.zeroPageCount
        #expect(sent > 0 && sent <= 2 * attempt.statistics.dirtySyncCount, "\(attempt.statistics)")
        // It is the same memory, and only one of the two may run a guest on it.
        let lock = try #require(pair.source.disks.last)
        #expect(throws: (any Error).self) { try lock.takeLock() }
        pair.simulation.finish()
    }

    @Test(arguments: ["source", "destination"], [0, 1])
    func `an operation that fails leaves the guest on one side, and the next attempt works`(
        side: String, disks: Int
    ) throws {
        for isPermanent in [true, false] {
            var operation = 0
            while true {
                let pair = try pair(seed: 7, disks: disks)
                pair.network.faults[side] = .init(operation: operation, isPermanent: isPermanent)
                let attempt = pair.migrate()
                let isBeyond = pair.network.operationCount(of: side) <= operation
                // The memory's own lock settles what a guest without disks would leave open.
                #expect(attempt.source != .uncertain || attempt.destinationHasGuest, "\(attempt)")
                try checkAttempt(attempt, of: pair)
                pair.simulation.finish()
                if isBeyond { break }
                operation += 1
            }
            #expect(operation > 8)
        }
    }

    @Test(arguments: 1...400) func `cuts and cancels at any moment leave the guest on one side`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed ^ 0x10ca1)
        let pair = try pair(seed: seed, disks: Int.random(in: 0...1, using: &random))
        let moment = Duration.microseconds(Int.random(in: 0...9000, using: &random))
        switch Int.random(in: 0..<3, using: &random) {
        case 0: pair.simulation.after(moment) { [network = pair.network] in network.cut() }
        case 1: pair.simulation.after(moment) { [pair] in pair.cancelSource() }
        default: pair.simulation.after(moment) { [pair] in pair.cancelDestination() }
        }
        try checkAttempt(pair.migrate(), of: pair)
        pair.simulation.finish()
    }

    @Test func `private memory is refused by its name`() throws {
        let pair = try pair(seed: 5, sharesMemory: false)
        let attempt = pair.migrate()
        #expect(
            attempt.sourceError
                == "RAM block block0 is private memory here, and only memory of kind shared=on can be handed over.")
        #expect(attempt.source == .failed && pair.source.isRunning)
        pair.simulation.finish()
    }

    @Test(arguments: [true, false]) func `a capability that only one side has is named`(isOnAtSource: Bool) throws {
        let pair = try pair(seed: 6)
        pair.options.dialect.isLocal = isOnAtSource
        pair.destinationDialect = StreamDialect()
        pair.destinationDialect?.isLocal = !isOnAtSource
        let attempt = pair.migrate()
        #expect(
            attempt.destinationError
                == (isOnAtSource
                    ? "The stream uses capability local, which is off here."
                    : "Capability local is on here, and the stream does not use it."))
        #expect(attempt.source == .failed && pair.source.isRunning, "\(attempt)")
        pair.simulation.finish()
    }
}
