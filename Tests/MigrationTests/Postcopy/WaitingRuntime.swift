import Synchronization

@testable import Migration

/// A runtime whose time goes on only while somebody waits.
final class WaitingRuntime: MigrationRuntime {
    private let time = Mutex(Duration.zero)

    func now() -> Duration { time.withLock { $0 } }
    func pass(_ duration: Duration) { time.withLock { $0 += duration } }
    func setUrgency(_ urgency: MigrationUrgency) {}
    func makeGate() -> any MigrationGate { WaitingGate(runtime: self) }

    func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) throws -> any MigrationThread {
        throw MigrationError.unexpected("a thread")
    }

    private struct WaitingGate: MigrationGate {
        let runtime: WaitingRuntime
        func open() {}
        func close() {}
        func wait(until deadline: Duration?) -> Bool {
            if let deadline { runtime.time.withLock { $0 = max($0, deadline) } }
            return false
        }
    }
}
