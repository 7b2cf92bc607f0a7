internal import Synchronization

/// Decides whether a cancel came before the last byte or after it: the first of the two wins.
///
/// A cancel that cuts the connection when everything was sent would leave both sides in doubt who has the guest.
final class HandOverLatch: Sendable {
    private enum State { case open, cancelled, committed }
    private let state = Mutex(State.open)

    /// Whether the migration may still be given up.
    func cancel() -> Bool {
        state.withLock { state in
            if state == .open { state = .cancelled }
            return state == .cancelled
        }
    }

    /// The last bytes are about to be sent.
    ///
    /// - Throws: `MigrationError.cancelled` when a cancel was first.
    func commit() throws {
        try state.withLock { state in
            if state == .cancelled { throw MigrationError.cancelled }
            state = .committed
        }
    }
}
