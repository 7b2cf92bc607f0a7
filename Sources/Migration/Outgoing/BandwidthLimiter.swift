internal import Synchronization

/// Spreads bytes over time so that all channels together stay below a limit.
///
/// Each send is charged before it is made; who sends too early waits at `stop`, a gate that a cancel opens. Unused time
/// is worth at most `burst`.
final class BandwidthLimiter: Sendable {
    private let bytesPerSecond: Atomic<Int>
    private let free: Mutex<Duration>
    private static let burst: Duration = .milliseconds(20)

    /// `bytesPerSecond` 0 is no limit.
    init(bytesPerSecond: Int) {
        self.bytesPerSecond = Atomic(bytesPerSecond)
        free = Mutex(.zero)
    }

    /// Whether there is a limit.
    var isLimiting: Bool { bytesPerSecond.load(ordering: .relaxed) > 0 }

    /// Changes the limit, from the next send on.
    func setLimit(_ limit: Int) { bytesPerSecond.store(limit, ordering: .relaxed) }

    /// Waits until `byteCount` bytes may be sent, or `stop` opens.
    func charge(_ byteCount: Int, runtime: any MigrationRuntime, stop: any MigrationGate) {
        let now = runtime.now()
        if let turn = reserve(byteCount, at: now), turn > now { stop.wait(until: turn) }
    }

    /// The moment from which on `byteCount` bytes may be sent, which are charged now; nil without a limit.
    func reserve(_ byteCount: Int, at now: Duration) -> Duration? {
        let limit = bytesPerSecond.load(ordering: .relaxed)
        guard limit > 0 else { return nil }
        return free.withLock { free in
            let turn = max(free, now - Self.burst)
            free = turn + .seconds(Double(byteCount) / Double(limit))
            return turn
        }
    }
}
