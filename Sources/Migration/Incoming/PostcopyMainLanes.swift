internal import GuestMemory
internal import Synchronization

/// What takes in pages.
protocol ReceivedPages {
    /// Takes in pages whose bytes lie `stride` apart from `source` on.
    func add(region: Int, offset: Int, pageCount: Int, from source: UnsafeRawPointer, stride: Int) throws
    /// Takes in pages of zeros.
    func addZeros(region: Int, offset: Int, pageCount: Int) throws
}

extension PostcopyReceivingLane: ReceivedPages {}

/// Two lanes for the main channel: while a thread puts a chunk that is complete into place, the next one is received.
///
///     page thread      chunk 0 -> lane 0    chunk 1 -> lane 1    chunk 2 -> lane 0 ...
///     install thread             puts chunk 0 into place   chunk 1 ...
///
/// Neighbours have different lanes. A lane that is needed again before the thread has come to it is emptied by who needs it.
final class PostcopyMainLanes: ReceivedPages, Sendable {
    private let memory: ReceivedMemory
    private let lanes: [PostcopyReceivingLane]
    private let runtime: any MigrationRuntime
    private let work: any MigrationGate
    private let state = Mutex(State())

    private struct State {
        var isOver = false
        var thread: (any MigrationThread)?
    }

    /// - Parameter makeLane: Makes a lane, which calls what it is given when a chunk is complete.
    init(
        memory: ReceivedMemory, runtime: any MigrationRuntime,
        _ makeLane: (_ onComplete: @escaping @Sendable () -> Void) throws -> PostcopyReceivingLane
    ) throws {
        self.memory = memory
        self.runtime = runtime
        let work = runtime.makeGate()
        self.work = work
        lanes = try (0..<2).map { _ in try makeLane { work.open() } }
    }

    /// Starts the thread; `onFailure` hears of what keeps it from its work.
    func start(onFailure: @escaping @Sendable (any Error) -> Void) throws {
        let thread = try runtime.startThread("postcopy-install") { [self] in
            do { try install() } catch { onFailure(error) }
        }
        state.withLock { $0.thread = thread }
    }

    private func install() throws {
        while true {
            work.wait(until: nil)
            work.close()
            if state.withLock({ $0.isOver }) { return }
            for lane in lanes { try lane.installComplete() }
        }
    }

    /// Ends the thread.
    func end() {
        let thread = state.withLock { state in
            state.isOver = true
            defer { state.thread = nil }
            return state.thread
        }
        work.open()
        thread?.join()
    }

    func add(region: Int, offset: Int, pageCount: Int, from source: UnsafeRawPointer, stride: Int) throws {
        var from = source
        try forEachChunk(region: region, offset: offset, pageCount: pageCount) { lane, offset, count in
            try lane.add(region: region, offset: offset, pageCount: count, from: from, stride: stride)
            from += count * stride
        }
    }

    func addZeros(region: Int, offset: Int, pageCount: Int) throws {
        try forEachChunk(region: region, offset: offset, pageCount: pageCount) { lane, offset, count in
            try lane.addZeros(region: region, offset: offset, pageCount: count)
        }
    }

    private func forEachChunk(
        region: Int, offset: Int, pageCount: Int,
        _ body: (PostcopyReceivingLane, _ offset: Int, _ count: Int) throws -> Void
    ) throws {
        try memory.checkBounds(region: region, offset: offset, pageCount: pageCount)
        var page = offset / pageSize
        let end = page + pageCount
        while page < end {
            let chunk = lanes[0].chunk(of: page, in: region)
            let lane = lanes[chunk.lowerBound / lanes[0].chunkPageCount(in: region) % lanes.count]
            let count = min(end, chunk.upperBound) - page
            try body(lane, page * pageSize, count)
            page += count
        }
    }

    /// Puts `page` into place if it is staged; whether it was. See `PostcopyReceivingLane`.
    func installIfStaged(region: Int, page: Int) throws -> Bool {
        for lane in lanes where try lane.installIfStaged(region: region, page: page) { return true }
        return false
    }

    /// Nothing more has arrived for now.
    func flush() throws { for lane in lanes { try lane.flush() } }
    /// Nothing more will come: everything is put into place.
    func finish() throws { for lane in lanes { try lane.finish() } }
    /// Nothing follows: whole pages are put into place, and the part of a huge page is forgotten.
    func close() { for lane in lanes { lane.close() } }
}
