internal import GuestMemory
internal import MigrationStream
internal import Synchronization

/// Pages that the destination waits for: the newest request first, and no page twice; and behind them pages of which it is
/// known that it will ask for them.
///
/// The return path's thread adds, and serves the newest itself where the preempt channel is free (`serveNewest`); the
/// others are taken by the thread that serves them. The main thread may wait at `gate`, which is opened with every
/// request; the thread of a preempt channel has a gate of its own, because who closes a gate that another waits at takes
/// the news from it.
final class PageRequests: Sendable {
    /// One request: whole units of a region.
    struct Request: Hashable {
        var region: Int
        var first: Int
        var pageCount: Int
        /// Whether nobody has asked yet.
        var isAnticipated = false
    }

    let gate: any MigrationGate
    private let urgentGate: any MigrationGate
    private let regions: [MemoryRegion]
    private let state = Mutex(State())

    private struct State {
        /// The newest, by itself: nearly always it is the only one, and taken at once.
        var newest: Request?
        /// The others, the oldest first.
        var waiting: [Request] = []
        var isWaiting: Set<Request> = []
        /// The last is the first to be wanted.
        var anticipated: [Request] = []
        var pivots: [Request] = []
        var lastRegion: Int?
        var count = 0
        var joinedCount = 0
        var isEnded = false
        /// Whether the thread of the preempt channel waits to try something again.
        var isRetrying = false
        /// What serves the newest on the thread that adds them.
        var serve: (@Sendable () -> Void)?

        var hasWaiting: Bool { newest != nil || !waiting.isEmpty }

        /// Adds a request; whether it is new.
        mutating func add(_ request: Request) -> Bool {
            if newest == request || (!isWaiting.isEmpty && isWaiting.contains(request)) { return false }
            if let newest {
                waiting.append(newest)
                isWaiting.insert(newest)
            }
            newest = request
            return true
        }

        mutating func takeWaiting() -> Request? {
            if let request = newest {
                newest = nil
                return request
            }
            guard let request = waiting.popLast() else { return nil }
            isWaiting.remove(request)
            return request
        }
    }

    init(regions: [MemoryRegion], runtime: any MigrationRuntime) {
        self.regions = regions
        gate = runtime.makeGate()
        urgentGate = runtime.makeGate()
    }

    /// How many came, and how many of these asked for what was asked for already.
    var counts: (all: Int, joined: Int) { state.withLock { ($0.count, $0.joinedCount) } }

    /// Adds what the destination asked for.
    ///
    /// - Throws: `MigrationError` if there are no such pages.
    func add(_ message: PageRequest) throws(MigrationError) {
        let known: Int? =
            if let name = message.block { regions.firstIndex { $0.block.name == name } } else {
                state.withLock { $0.lastRegion }
            }
        guard let region = known else { throw .unknownBlock(message.block ?? "of a request without one") }
        let block = regions[region].block
        let unit = UInt64(regions[region].unitPageCount * pageSize)
        let end = message.blockOffset.addingReportingOverflow(UInt64(message.byteCount))
        guard !end.overflow, end.partialValue <= UInt64(block.byteCount), message.byteCount > 0,
            message.blockOffset % unit == 0, UInt64(message.byteCount) % unit == 0
        else {
            throw .unexpected(
                "a request for \(message.byteCount) bytes at \(message.blockOffset) of RAM block \(block.name), which "
                    + "has \(block.byteCount) bytes in pages of \(unit)")
        }
        let request = Request(
            region: region, first: Int(message.blockOffset) / pageSize, pageCount: Int(message.byteCount) / pageSize)
        let isServed = state.withLock { state in
            state.lastRegion = region
            state.count += 1
            state.pivots.append(request)
            if state.pivots.count > 8 { state.pivots.removeFirst() }
            if !state.add(request) { state.joinedCount += 1 }
            return state.serve != nil
        }
        // `serveNewest` wakes whom it needs.
        if isServed { return }
        gate.open()
        urgentGate.open()
    }

    /// Sets what serves the newest request on the thread that adds them; nil for nothing.
    func setServer(_ serve: (@Sendable () -> Void)?) { state.withLock { $0.serve = serve } }

    /// Has the newest request served, if there is one and somebody who does that on this thread. Called when all that has
    /// come is added.
    func serveNewest() {
        let serve = state.withLock { $0.hasWaiting ? $0.serve : nil }
        serve?()
    }

    /// Adds pages that will be asked for, the most urgent first.
    func anticipate(_ pages: some Sequence<RegionPages>) {
        state.withLock { state in
            state.anticipated = pages.reversed().map {
                Request(
                    region: $0.region, first: $0.range.first.value, pageCount: $0.range.pageCount, isAnticipated: true)
            }
        }
        gate.open()
        urgentGate.open()
    }

    /// The newest request, or when there is none the first that is anticipated; it is taken.
    func takeNewest() -> Request? {
        state.withLock { state in state.takeWaiting() ?? state.anticipated.popLast() }
    }

    /// The newest request; it is taken.
    func takeWaiting() -> Request? { state.withLock { $0.takeWaiting() } }

    /// Lets the thread of the preempt channel look again, if it has a reason to: to wake it takes time.
    func wakeUrgent() {
        if state.withLock({ $0.isRetrying || $0.hasWaiting }) { urgentGate.open() }
    }

    /// Whether there is a request that nobody has taken.
    var isWaited: Bool { state.withLock { $0.hasWaiting } }

    /// Whether there is nothing to take but what is anticipated.
    var onlyAnticipates: Bool { state.withLock { !$0.hasWaiting && !$0.anticipated.isEmpty } }

    /// Waits for a request, and takes it; nil at the end.
    func waitForRequest() -> Request? {
        while true {
            urgentGate.close()
            if let request = takeNewest() { return request }
            if state.withLock({ $0.isEnded }) { return nil }
            urgentGate.wait(until: nil)
        }
    }

    /// Tries `body` until it succeeds, at first and whenever `wakeUrgent` is called.
    func retryWhenWoken(_ body: () throws -> Bool) rethrows {
        // Before the first attempt: whoever is in its way then says so when he is done.
        state.withLock { $0.isRetrying = true }
        defer { state.withLock { $0.isRetrying = false } }
        while true {
            urgentGate.close()
            if try body() { return }
            urgentGate.wait(until: nil)
        }
    }

    /// Where requests came from since this was last asked, oldest first; at most eight.
    func takePivots() -> [Request] {
        state.withLock { state in
            let pivots = state.pivots
            state.pivots = []
            return pivots
        }
    }

    /// Whoever waits gets what is left, and then nil.
    func end() {
        state.withLock { $0.isEnded = true }
        urgentGate.open()
    }

    /// A new link: what was asked for on the old one will be asked for again.
    func begin() {
        state.withLock { state in
            state.newest = nil
            state.waiting = []
            state.isWaiting = []
            state.anticipated = []
            state.pivots = []
            state.lastRegion = nil
            state.isEnded = false
        }
    }
}
