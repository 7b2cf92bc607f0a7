internal import GuestMemory
internal import MigrationStream
internal import Synchronization

extension OutgoingSession {
    /// How often a pass looks at what else goes on.
    private static let pollInterval: Duration = .milliseconds(20)

    /// What follows the passes.
    enum PassesEnding: Equatable {
        /// Nil when nothing had to be sent.
        case switchover(Decision.Reason?)
        case postcopy
    }

    /// Sends passes until the policy has had enough of them.
    func runPasses() throws -> PassesEnding {
        var number = 1
        if options.allowsPostcopy, migration.policy.withLock({ $0.beginsWithPostcopy }) {
            progress.enter(.pass(1))
            return .postcopy
        }
        if tracker.isEmpty {
            // All memory is handed over as it is.
            progress.enter(.pass(1))
            try control.check()
            return .switchover(nil)
        }
        while true {
            progress.enter(.pass(number))
            switch try runPass(number) {
            case .anotherPass: break
            case .throttle(let throttle):
                machine.setThrottle(throttle)
                progress.update { $0.throttle = throttle }
            case .switchOver(let reason): return .switchover(reason)
            case .giveUp(let reason): throw MigrationError.gaveUp(reason)
            case .goPostcopy(let reason):
                guard options.allowsPostcopy else {
                    throw MigrationError.postcopyImpossible("The policy asks for post-copy, which is not allowed here.")
                }
                progress.update { $0.postcopyReason = reason }
                return .postcopy
            }
            number += 1
        }
    }

    /// Sends everything that is dirty, and decides.
    private func runPass(_ number: Int) throws -> Decision {
        let heldBefore = machine.heldTimes()
        var interruption: Decision?
        var look = Look(at: runtime.now())
        let statistics = try sendPass(number, isLimited: true) { chunks in
            if number == 1 { try putWrittenLast(chunks, &look) }
            interruption = try number > 1 ? endOfPass() : nil
            if interruption != nil { return false }
            interruption =
                control.wantsPostcopy && options.allowsPostcopy
                ? .goPostcopy(.request) : migration.policy.withLock { $0.interruption(at: progress.elapsed) }
            return interruption == nil
        }
        let (decision, expected) = migration.policy.withLock { policy in
            let decision = policy.decide(after: statistics)
            return (interruption ?? decision, policy.expectedDowntime(after: statistics))
        }
        record(statistics, expectedDowntime: expected, isWhole: interruption == nil)
        recordThrottle(statistics, heldBefore: heldBefore)
        try control.check()
        try checkReturnPath()
        if case .goPostcopy(.request) = decision { return decision }
        // Asked for behind the pass's last look.
        if decision.mayBecomePostcopy && control.wantsPostcopy && options.allowsPostcopy {
            return .goPostcopy(.request)
        }
        return decision
    }

    /// Sends everything that is dirty, and looks at what the guest wrote meanwhile.
    ///
    /// - Parameters:
    ///   - isLimited: Whether the bandwidth limit holds.
    ///   - poll: Called now and then with the chunks that are left; ends the pass early by returning false.
    private func sendPass(
        _ number: Int, isLimited: Bool, poll: (ChunkQueue) throws -> Bool = { _ in true }
    ) throws -> PassStatistics {
        let before = control.counters.values
        let start = runtime.now()
        let dirtiedBefore = machine.dirtiedPageCounts()
        main?.pages.usesDeltas = number > 1
        // The first pass clears the log piece by piece, which is late enough for a page to be sent only once. Later
        // ones clear all of it at once, so that pages the guest writes all the time are seen and left alone.
        if number > 1 { try tracker.clearReported() }
        let sentPageCount = try sendPages(
            .part, mode: number > 1 ? .skippingRewritten : .clearing, isLimited: isLimited
        ) { chunks in
            try checkReturnPath()
            return try poll(chunks)
        }
        let syncStart = runtime.now()
        try tracker.sync()
        let end = runtime.now()
        return passStatistics(
            number, sentPageCount: sentPageCount, duration: end - start, lastSync: end - syncStart, before: before,
            dirtiedBefore: dirtiedBefore)
    }

    /// Sends without the bandwidth limit, while the guest still runs, what is dirty before the switchover.
    ///
    /// The limit does not hold in the switchover, so the same bytes would go as fast while the guest stands still. What
    /// is left then is what the guest writes in the short time that this takes; where the link is hardly faster than the
    /// limit, that is sent ahead as well.
    func sendAhead(of reason: Decision.Reason?) throws {
        // Somebody whose time is over does not want the guest to run on.
        guard let reason, reason != .timeout, control.limiter.isLimiting else { return }
        try tracker.sync()
        if tracker.dirtyPageCount == 0 { return }
        for _ in 0..<Self.aheadPassLimit {
            let number = progress.passCount + 1
            progress.enter(.pass(number))
            let statistics = try sendPass(number, isLimited: false)
            record(
                statistics, expectedDowntime: migration.policy.withLock { $0.expectedDowntime(after: statistics) },
                isWhole: true)
            let left = statistics.dirtiedPageCount
            if left <= ClassicRule().pageLimit || left * 2 > statistics.sentPageCount { return }
        }
    }

    /// Each sends at most half of what the one before sent.
    private static let aheadPassLimit = 3

    /// When the first pass looks next where the guest writes.
    private struct Look {
        var time: Duration
        var interval = Duration.milliseconds(50)

        init(at start: Duration) { time = start + interval }
    }

    /// Lets the first pass come last to where the guest writes: what it sends at its end has the least time to be written
    /// again.
    private func putWrittenLast(_ chunks: ChunkQueue, _ look: inout Look) throws {
        let start = runtime.now()
        guard start >= look.time else { return }
        try tracker.sync()
        chunks.putLast(byWrites: tracker.writtenSampleCount)
        let end = runtime.now()
        look.interval = max(min(look.interval * 2, .seconds(1)), (end - start) * 20)
        look.time = end + look.interval
    }

    /// Looks at what is dirty now, in the middle of a pass: whether that is little enough.
    private func endOfPass() throws -> Decision? {
        let start = runtime.now()
        try tracker.sync()
        let fixedDowntime = options.assumedFixedDowntime + (runtime.now() - start)
        let remainingByteCount = tracker.dirtyPageCount * pageSize
        return migration.policy.withLock {
            $0.ending(
                remainingByteCount: remainingByteCount, fixedDowntime: fixedDowntime, elapsed: progress.elapsed,
                isLimited: control.limiter.isLimiting)
        }
    }

    /// Sends all dirty pages as one part of the `ram` section; how many there were.
    ///
    /// `poll` is called now and then with the chunks that are left, and ends the part early by returning false.
    func sendPages(
        _ kind: SectionHeader.Kind, mode: DirtyTracker.Mode, isLimited: Bool, poll: (ChunkQueue) throws -> Bool
    ) throws -> Int {
        guard let main else { return 0 }
        main.isLimited = isLimited
        try main.beginPages(kind)
        let chunks = ChunkQueue(tracker.chunks)
        var pageCount = 0
        if let multifd {
            pageCount = try multifd.sendPass(
                chunks, mode: mode, isLimited: isLimited, interval: kind == .part ? Self.pollInterval : nil
            ) {
                if try !poll(chunks) { chunks.skipRest() }
                try main.writeZeroPages(multifd.zeroPages.takeAll(), tracker: tracker)
            }
            try main.writeZeroPages(multifd.zeroPages.takeAll(), tracker: tracker)
        } else {
            var sender = ChunkSender(tracker: tracker, writer: main.pages, counters: control.counters)
            var nextPoll = runtime.now() + Self.pollInterval
            while let chunk = chunks.take() {
                pageCount += try sender.send(chunk, mode: mode)
                guard runtime.now() >= nextPoll else { continue }
                try control.check()
                if kind == .part, try !poll(chunks) { break }
                nextPoll = runtime.now() + Self.pollInterval
            }
            try main.pages.finishPass()
        }
        try main.endSection(syncsChannels: multifd != nil)
        return pageCount
    }

    private func passStatistics(
        _ number: Int, sentPageCount: Int, duration: Duration, lastSync: Duration, before: TransferCounters.Values,
        dirtiedBefore: [Int]
    ) -> PassStatistics {
        let after = control.counters.values
        let dirtyPageCount = tracker.dirtyPageCount
        return PassStatistics(
            pass: number, duration: duration, elapsed: progress.elapsed, sentPageCount: sentPageCount,
            sentByteCount: after.byteCount - before.byteCount, dirtiedPageCount: dirtyPageCount,
            remainingByteCount: dirtyPageCount * pageSize,
            backPressure: BackPressure(
                byteCount: after.pressedByteCount - before.pressedByteCount,
                duration: .nanoseconds(after.pressedNanoseconds - before.pressedNanoseconds),
                channelCount: max(1, options.dialect.channelCount)),
            fixedDowntime: options.assumedFixedDowntime + lastSync,
            dirtiedPageCounts: zip(machine.dirtiedPageCounts(), dirtiedBefore).map { $0 - $1 },
            isLimited: control.limiter.isLimiting)
    }

    /// What a dirty limit or the stun did in a pass: virtual CPUs that were held, and how fast rings fill.
    private func recordThrottle(_ pass: PassStatistics, heldBefore: [Duration]) {
        let held = machine.heldTimes().enumerated().map { index, time in
            time - (index < heldBefore.count ? heldBefore[index] : .zero)
        }
        let fastest = pass.dirtiedPageCounts.max() ?? 0
        progress.update { statistics in
            statistics.throttleTimePerPass = held.max() ?? .zero
            guard let ring = machine.dirtyRingPageCount, fastest > 0 else { return }
            statistics.dirtyRingFullTime = pass.duration * (Double(ring) / Double(fastest))
        }
    }

    private func record(_ pass: PassStatistics, expectedDowntime: Duration?, isWhole: Bool) {
        let seconds = pass.duration.inSeconds
        progress.update { statistics in
            statistics.passes.append(pass)
            statistics.dirtySyncCount += 1
            statistics.expectedDowntime = expectedDowntime
            guard seconds > 0 else { return }
            // What a pass did not come to is dirty still, whoever wrote it: that is no rate.
            if isWhole { statistics.dirtyPageRate = Int(Double(pass.dirtiedPageCount) / seconds) }
            statistics.pagesPerSecond = Int(Double(pass.sentPageCount) / seconds)
            statistics.bitsPerSecond = Double(pass.sentByteCount) * 8 / seconds
        }
    }
}
