internal import Synchronization

/// What waits to be sent to one client; filled by any thread, emptied by the server's.
final class ClientOutput: Sendable {
    private struct State: Sendable {
        var bytes: [UInt8] = []
        /// How many of `bytes` are sent.
        var sentCount = 0
        var commandCount = 0
        var wantsEvents = false
        var isClosed = false
    }

    private let state = Mutex(State())
    private let limit: Int

    /// `limit`: bytes that may wait.
    init(limit: Int) { self.limit = limit }

    /// Appends whole lines. When more than the limit waits, the client is given up.
    func append(_ line: [UInt8]) {
        state.withLock { state in
            guard !state.isClosed else { return }
            state.bytes += line
            if state.bytes.count - state.sentCount > limit { state.isClosed = true }
        }
    }

    var wantsEvents: Bool { state.withLock { $0.wantsEvents } }
    func startEvents() { state.withLock { $0.wantsEvents = true } }

    var isClosed: Bool { state.withLock { $0.isClosed } }
    func close() { state.withLock { $0.isClosed = true } }

    /// Commands that were read and not answered.
    var commandCount: Int { state.withLock { $0.commandCount } }
    func commandBegan() { state.withLock { $0.commandCount += 1 } }
    func commandEnded() { state.withLock { $0.commandCount -= 1 } }

    var waitingByteCount: Int { state.withLock { $0.bytes.count - $0.sentCount } }

    /// Gives what waits to `send`, which returns how much of it went out, until all is sent or it returns 0.
    func drain(_ send: (ArraySlice<UInt8>) throws -> Int) throws {
        while true {
            // Copied, so that nobody who appends waits for the kernel.
            let waiting = state.withLock { $0.bytes[$0.sentCount...] }
            if waiting.isEmpty { return }
            let count = try send(waiting)
            if count == 0 { return }
            state.withLock { state in
                state.sentCount += count
                if state.sentCount == state.bytes.count {
                    state.bytes = []
                    state.sentCount = 0
                } else if state.sentCount > 65536 {
                    state.bytes.removeFirst(state.sentCount)
                    state.sentCount = 0
                }
            }
        }
    }
}
