internal import GuestMemory
internal import Synchronization

/// What an outgoing migration tells about itself: written by its main thread, read by any.
final class OutgoingProgress: Sendable {
    private let runtime: any MigrationRuntime
    private let observer: (any MigrationObserver)?
    /// Those whose pages are sent.
    private let blocks: [RAMBlock]
    private let state: Mutex<State>

    private struct State {
        var statistics = MigrationStatistics()
        var start: Duration
        var pauseStart: Duration?
        var end: Duration?
        var countersAtPause: TransferCounters.Values?
        var countersAtPostcopy: TransferCounters.Values?
        var delta: DeltaEncoder?
        var requests: PageRequests?
    }

    /// - Parameter shared: Which of the blocks are handed over as they are.
    init(
        runtime: any MigrationRuntime, observer: (any MigrationObserver)?, blocks: [RAMBlock], shared: Set<Int> = []
    ) {
        self.runtime = runtime
        self.observer = observer
        self.blocks = blocks.indices.filter { !shared.contains($0) }.map { blocks[$0] }
        var state = State(start: runtime.now())
        state.statistics.totalByteCount = blocks.reduce(0) { $0 + $1.byteCount }
        self.state = Mutex(state)
    }

    var elapsed: Duration { runtime.now() - state.withLock { $0.start } }

    func enter(_ phase: OutgoingPhase) {
        state.withLock { state in
            state.statistics.phase = phase
            switch phase {
            case .pass(1): state.statistics.setupTime = runtime.now() - state.start
            case .completed, .failed, .cancelled, .uncertain: state.end = runtime.now()
            default: break
            }
        }
        observer?.outgoingMigration(entered: phase)
    }

    func update(_ body: (inout MigrationStatistics) -> Void) { state.withLock { body(&$0.statistics) } }

    /// How many passes were recorded.
    var passCount: Int { state.withLock { $0.statistics.passes.count } }

    func setDelta(_ delta: DeltaEncoder) { state.withLock { $0.delta = delta } }

    func setRequests(_ requests: PageRequests) { state.withLock { $0.requests = requests } }

    /// Requests for pages that came in post-copy, and how many of them were joined with others.
    var requestCounts: (all: Int, joined: Int) { state.withLock { $0.requests }?.counts ?? (0, 0) }

    /// The guest is about to stop.
    func beginDowntime(counters: TransferCounters.Values) {
        state.withLock { state in
            state.pauseStart = runtime.now()
            state.countersAtPause = counters
        }
    }

    /// The guest runs again, here or at the destination: now, or since `moment`.
    func endDowntime(at moment: Duration? = nil) {
        state.withLock { state in
            guard let start = state.pauseStart else { return }
            state.statistics.downtime = (moment ?? runtime.now()) - start
            state.pauseStart = nil
        }
    }

    /// The guest took this long to run at the destination, as that says.
    func lengthenDowntime(by duration: Duration) {
        update { if let downtime = $0.downtime { $0.downtime = downtime + duration } }
    }

    /// The destination can run the guest, and fetches the rest.
    func beginPostcopy(counters: TransferCounters.Values) {
        state.withLock { state in
            state.countersAtPostcopy = counters
            // The guest writes elsewhere.
            state.statistics.dirtyPageRate = 0
        }
    }

    /// Runs `body` and adds its time to a part of the downtime.
    func measure<Value>(
        _ part: DowntimeParts.Part, _ body: () throws -> Value
    ) rethrows -> Value {
        let start = runtime.now()
        defer { add(runtime.now() - start, to: part) }
        return try body()
    }

    func add(_ duration: Duration, to part: DowntimeParts.Part) {
        update { $0.downtimeParts.add(duration, to: part) }
    }

    func snapshot(counters: TransferCounters.Values) -> MigrationStatistics {
        state.withLock { state in
            var statistics = state.statistics
            statistics.totalTime = (state.end ?? runtime.now()) - state.start
            statistics.transferredByteCount = counters.byteCount
            statistics.multifdByteCount = counters.multifdByteCount
            statistics.normalPageCount = counters.normalPageCount
            statistics.zeroPageCount = counters.zeroPageCount
            statistics.skippedPageCount = counters.skippedPageCount
            let atPause = state.countersAtPause?.byteCount ?? counters.byteCount
            statistics.precopyByteCount = atPause
            let atPostcopy = state.countersAtPostcopy?.byteCount ?? counters.byteCount
            statistics.downtimeByteCount = atPostcopy - atPause
            statistics.postcopyByteCount = counters.byteCount - atPostcopy
            if state.end == nil {
                statistics.remainingByteCount = blocks.reduce(0) { $0 + $1.dirtyBitmap.count * pageSize }
            }
            if let delta = state.delta { statistics.xbzrle = delta.statistics }
            return statistics
        }
    }
}
