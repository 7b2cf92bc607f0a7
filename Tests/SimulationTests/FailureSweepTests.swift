import Migration
import MigrationStream
import MigrationTestSupport
import Testing

/// Every operation on a channel failed on purpose, one after another, until a run has none left to fail.
@Suite("Failure sweep") struct FailureSweepTests {
    private func pair(seed: UInt64, channels: Int, disks: Int) throws -> SimulatedPair {
        let pair = try SimulatedPair(seed: seed, pageCounts: [20, 2], diskCount: disks)
        pair.options.dialect.channelCount = channels
        pair.source.writesPerStep = 2
        return pair
    }

    @Test(arguments: ["source", "destination"], [0, 2])
    func `an operation that fails for good or in passing leaves the guest on one side`(
        side: String, channels: Int
    ) throws {
        for isPermanent in [true, false] {
            for disks in [0, 1] {
                var operation = 0
                var failures = 0
                while true {
                    let pair = try pair(seed: 7, channels: channels, disks: disks)
                    pair.network.faults[side] = .init(operation: operation, isPermanent: isPermanent)
                    let attempt = pair.migrate()
                    let isBeyond = pair.network.operationCount(of: side) <= operation
                    try checkAttempt(attempt, of: pair)
                    pair.simulation.finish()
                    if attempt.source != .completed { failures += 1 }
                    if isBeyond { break }
                    operation += 1
                }
                #expect(failures > operation / 3, "\(failures) of \(operation) operations made the migration fail")
            }
        }
    }

    @Test(arguments: [0, 1, 2, 3], ["save", "load", "pause", "lock"])
    func `a device, a pause or a lock that fails its n-th time leaves the guest on one side`(
        count: Int, what: String
    ) throws {
        let pair = try pair(seed: 11, channels: 0, disks: 2)
        switch what {
        case "save": pair.source.failingSave = count
        case "load": pair.destination.failingLoad = count
        case "pause": pair.source.failingPause = count
        default:
            let disk = try #require(pair.destination.disks.first as? SimulatedDisk)
            disk.failingTake = count
        }
        let attempt = pair.migrate()
        try checkAttempt(attempt, of: pair)
        pair.simulation.finish()
    }

    @Test func `a destination that refuses a lock is named by both sides`() throws {
        let pair = try pair(seed: 12, channels: 0, disks: 2)
        let disk = try #require(pair.destination.disks.last as? SimulatedDisk)
        disk.failingTake = 0
        let attempt = pair.migrate()
        #expect(attempt.destinationError == "Disk disk1: the lock is refused")
        #expect(attempt.sourceError == "The destination could not load the guest: Disk disk1: the lock is refused")
        #expect(pair.source.isRunning)
    }

    @Test func `a source that lost the answer goes on if it gets its locks back`() throws {
        let pair = try pair(seed: 13, channels: 0, disks: 1)
        // The destination is loaded and dies before it takes the lock.
        pair.destination.failingLoad = nil
        let disk = try #require(pair.destination.disks.first as? SimulatedDisk)
        disk.beforeTake = { [network = pair.network] in network.cut() }
        disk.failingTake = 0
        let attempt = pair.migrate()
        #expect(attempt.source == .failed && pair.source.isRunning, "\(attempt)")
        #expect(pair.locks.map(\.owner) == ["source"])
    }

    @Test func `a source that lost the answer stands still if the destination has the locks`() throws {
        let pair = try pair(seed: 14, channels: 0, disks: 1)
        let disk = try #require(pair.destination.disks.first as? SimulatedDisk)
        disk.afterTake = { [network = pair.network] in network.cut() }
        let attempt = pair.migrate()
        #expect(attempt.source == .uncertain && attempt.destinationHasGuest, "\(attempt)")
        #expect(pair.destination.isRunning && !pair.source.isRunning)
        #expect(pair.locks.map(\.owner) == ["destination"])
    }

    @Test func `a source without a disk that lost the answer asks a person`() throws {
        let pair = try pair(seed: 15, channels: 0, disks: 0)
        pair.destination.beforeFinish = { [network = pair.network] in network.cut() }
        let attempt = pair.migrate()
        #expect(attempt.source == .uncertain && attempt.destinationHasGuest, "\(attempt)")
        #expect(pair.destination.isRunning && !pair.source.isRunning)
    }
}

/// What two machines that differ say, before the first page.
@Suite("Machines that differ") struct DifferenceTests {
    @Test(arguments: [0, 2]) func `both sides name the difference, and no page was sent`(channels: Int) throws {
        let pair = try SimulatedPair(seed: 21, pageCounts: [30, 2])
        pair.options.dialect.channelCount = channels
        pair.source.description = MachineDescription(cpuCount: 1, devices: ["sim/device", "sim/extra"], processor: [])
        pair.destination.description = MachineDescription(cpuCount: 1, devices: ["sim/device"], processor: [])
        let attempt = pair.migrate()
        let sentence = "The source has sim/extra, which this machine does not have."
        #expect(attempt.destinationError == sentence)
        #expect(attempt.sourceError == "The destination could not load the guest: \(sentence)")
        #expect(attempt.statistics.normalPageCount == 0 && attempt.statistics.zeroPageCount == 0)
        #expect(attempt.source == .failed && pair.source.isRunning)
        pair.simulation.finish()
    }

    @Test(arguments: [true, false]) func `the switchover waits until the destination is ready for it`(isReady: Bool)
        throws
    {
        let pair = try SimulatedPair(seed: 22, pageCounts: [30, 2])
        pair.options.awaitsSwitchoverAcknowledgement = true
        pair.destinationDialect = StreamDialect()
        pair.destinationDialect?.acknowledgesSwitchover = isReady
        if !isReady { pair.simulation.after(.seconds(1)) { [pair] in pair.cancelSource() } }
        let attempt = pair.migrate()
        #expect(attempt.source == (isReady ? .completed : .failed), "\(attempt)")
        #expect(attempt.statistics.downtime != nil || !isReady, "\(attempt)")
        #expect(pair.destination.isRunning == isReady && pair.source.isRunning == !isReady)
        pair.simulation.finish()
    }
}

/// A bandwidth limit does not hold while the guest stands still.
@Suite("Sending ahead") struct SendingAheadTests {
    /// How many bytes go while the guest stands still.
    private func downtimeByteCount(
        limit: Int, link: Int = 100_000_000, timeout: MigrationPolicy.Timeout? = nil, channels: Int
    ) throws -> Int {
        let pair = try SimulatedPair(seed: 31, pageCounts: [2000, 3])
        pair.network.bytesPerSecond = link
        pair.options.maximumBandwidth = limit
        pair.options.dialect.channelCount = channels
        pair.source.hotPageCount = 200
        pair.source.writesPerStep = 4
        var rule = DowntimeLimitRule()
        rule.limit = .milliseconds(300)
        pair.policy.ending = .downtimeLimit(rule)
        pair.policy.timeout = timeout
        let attempt = pair.migrate()
        #expect(attempt.source == .completed && attempt.isEqual, "\(attempt)")
        let pageCounts = attempt.statistics.passes.map(\.sentPageCount)
        print("limit \(limit): \(pageCounts) pages, then \(attempt.statistics.downtimeByteCount) bytes")
        pair.simulation.finish()
        return attempt.statistics.downtimeByteCount
    }

    @Test(arguments: [0, 2]) func `what would be sent without a limit is sent before the guest stands still`(
        channels: Int
    ) throws {
        // The link carries in 10 ms what the limit lets through in 150, and in these the guest writes a few pages.
        let ahead = try downtimeByteCount(limit: 2_000_000, channels: channels)
        #expect(ahead < 30 * 4096)
        // Who has no time left stands still at once. The main channel would take all of so little memory in one send, and
        // look at the time behind that.
        if channels == 0 { return }
        let timeout = MigrationPolicy.Timeout(limit: .milliseconds(200), action: .suspend)
        let suspended = try downtimeByteCount(limit: 2_000_000, timeout: timeout, channels: channels)
        #expect(suspended > 50 * 4096)
    }

    @Test(arguments: [0, 2]) func `over a link hardly faster than the limit it takes some passes`(channels: Int) throws
    {
        // In one pass over such a link the guest writes many pages again.
        let ahead = try downtimeByteCount(limit: 2_000_000, link: 6_000_000, channels: channels)
        #expect(ahead < 60 * 4096)
    }
}
