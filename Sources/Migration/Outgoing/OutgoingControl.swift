internal import Synchronization

/// What threads of an outgoing migration share: whether it was cancelled, and what must be ended then.
final class OutgoingControl: Sendable {
    let runtime: any MigrationRuntime
    let limiter: BandwidthLimiter
    /// Spreads what is pushed in post-copy.
    let postcopyLimiter: BandwidthLimiter
    let counters = TransferCounters()
    /// Open once the migration was cancelled or has failed: nobody waits for time any more.
    let stopGate: any MigrationGate
    /// Opened by whoever changed something that the main thread may wait for.
    let changed: any MigrationGate
    private let state = Mutex(State())

    private struct State {
        var isCancelled = false
        var continues = false
        var isClosed = false
        var failure: (any Error)?
        var channels: [any MigrationChannel] = []
        var wantsPostcopy = false
        /// The guest may run at the destination: nothing can be put back any more.
        var isCommitted = false
        var nextConnector: (any MigrationConnector)?
        var isGivenUp = false
    }

    init(runtime: any MigrationRuntime, maximumBandwidth: Int, maximumPostcopyBandwidth: Int = 0) {
        self.runtime = runtime
        limiter = BandwidthLimiter(bytesPerSecond: maximumBandwidth)
        postcopyLimiter = BandwidthLimiter(bytesPerSecond: maximumPostcopyBandwidth)
        stopGate = runtime.makeGate()
        changed = runtime.makeGate()
    }

    /// Ends all channels now, and those that are still to come. Without effect once the migration is committed.
    func cancel() {
        let channels: [any MigrationChannel]? = state.withLock { state in
            if state.isCommitted { return nil }
            state.isCancelled = true
            return state.channels
        }
        guard let channels else { return }
        for channel in channels { channel.shutDown() }
        stopGate.open()
        changed.open()
    }

    var isCancelled: Bool { state.withLock { $0.isCancelled } }

    func continueSwitchover() {
        state.withLock { $0.continues = true }
        changed.open()
    }

    var continues: Bool { state.withLock { $0.continues } }

    /// Lets a cancel reach `channel`.
    func add(_ channel: any MigrationChannel) throws {
        let isOver = state.withLock { state in
            state.channels.append(channel)
            return state.isCancelled || state.isClosed
        }
        if isOver {
            channel.shutDown()
            throw MigrationError.cancelled
        }
    }

    /// Ends all channels, because the migration is over. Their threads return.
    func close() {
        let channels = state.withLock { state in
            state.isClosed = true
            // Who reads a pipe waits for its end: it is closed with the last who knows it, not with this migration.
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { channel.shutDown() }
        stopGate.open()
    }

    /// A thread failed: the first failure counts, and everybody is woken, also those who are blocked on a channel that
    /// the other side no longer reads because it waits for this one.
    func fail(_ error: any Error) {
        state.withLock { if $0.failure == nil { $0.failure = error } }
        close()
        changed.open()
    }

    /// What ended the migration: the first failure of a thread rather than what followed from it.
    func cause(or error: any Error) -> any Error { state.withLock { $0.failure ?? error } }

    /// - Throws: What a thread failed with, or that the migration was cancelled.
    func check() throws {
        let (isCancelled, failure) = state.withLock { ($0.isCancelled, $0.failure) }
        if isCancelled { throw MigrationError.cancelled }
        if let failure { throw failure }
    }

    /// Waits until `condition` gives a value, a thread fails or the migration is cancelled.
    ///
    /// For the main thread alone. `deadline` ends the wait with nil.
    func wait<Value>(until deadline: Duration? = nil, for condition: () throws -> Value?) throws -> Value? {
        while true {
            changed.close()
            if let value = try condition() { return value }
            try check()
            if let deadline, runtime.now() >= deadline { return nil }
            changed.wait(until: deadline)
        }
    }
}

/// What post-copy adds.
extension OutgoingControl {
    /// The guest is to run at the destination as soon as that can be done.
    func startPostcopy() {
        state.withLock { $0.wantsPostcopy = true }
        changed.open()
    }

    var wantsPostcopy: Bool { state.withLock { $0.wantsPostcopy } }

    /// From now on there is no way back.
    func commit() { state.withLock { $0.isCommitted = true } }

    /// Cuts the link, as a broken one would be.
    func breakLink() { fail(MigrationError.paused) }

    /// Lets a paused migration go on over a new link.
    ///
    /// - Returns: Whether it was not told so already.
    func resume(over connector: any MigrationConnector) -> Bool {
        let isFirst = state.withLock { state in
            guard state.isCommitted, state.nextConnector == nil else { return false }
            state.nextConnector = connector
            return true
        }
        if isFirst { changed.open() }
        return isFirst
    }

    /// A paused migration is given up: nobody will connect again.
    func giveUp() {
        state.withLock { $0.isGivenUp = true }
        changed.open()
    }

    /// Waits until a paused migration is to go on. The threads of the old link have ended.
    ///
    /// - Throws: `MigrationError.cancelled` if it was given up.
    func waitForConnector() throws -> any MigrationConnector {
        while true {
            changed.close()
            let (connector, isGivenUp) = state.withLock { state in
                let connector = state.nextConnector
                state.nextConnector = nil
                if connector != nil {
                    state.failure = nil
                    state.isClosed = false
                    state.channels = []
                }
                return (connector, state.isGivenUp)
            }
            if let connector {
                stopGate.close()
                return connector
            }
            if isGivenUp { throw MigrationError.cancelled }
            changed.wait(until: nil)
        }
    }
}
