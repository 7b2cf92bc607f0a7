internal import LinuxSystem
internal import Synchronization

/// The guest's clock: nanoseconds that it has run, standing still while it is paused. QEMU's "virtual clock".
final class VirtualClock: Sendable {
    private struct State {
        var elapsed: Int64 = 0
        var startedAt: Int64?
    }

    private let state = Mutex(State())

    /// What the clock shows.
    var now: Int64 { state.withLock { $0.elapsed + ($0.startedAt.map { monotonicNanoseconds - $0 } ?? 0) } }

    func start() { state.withLock { if $0.startedAt == nil { $0.startedAt = monotonicNanoseconds } } }

    func stop() {
        state.withLock {
            guard let startedAt = $0.startedAt else { return }
            $0.elapsed += monotonicNanoseconds - startedAt
            $0.startedAt = nil
        }
    }

    /// Sets what a clock that stands still shows.
    func set(_ nanoseconds: Int64) {
        state.withLock {
            precondition($0.startedAt == nil, "a running clock is set to \(nanoseconds)")
            $0.elapsed = nanoseconds
        }
    }
}
