internal import CLinux

/// A gate that threads wait at until another opens it.
///
/// Everything written before `open` is seen by those who pass. For threads that may block only: never in a task.
public final class Gate: Sendable {
    // Safe: the C functions lock the mutex inside; the pointer never changes.
    private nonisolated(unsafe) let gate: OpaquePointer

    public init(isOpen: Bool = false) { gate = clinux_gate_create(isOpen ? 1 : 0) }

    deinit { clinux_gate_destroy(gate) }

    /// Lets everyone through who waits or comes, until closed.
    public func open() { clinux_gate_set(gate, 1) }

    /// Makes those who come from now on wait.
    public func close() { clinux_gate_set(gate, 0) }

    public var isOpen: Bool { clinux_gate_is_open(gate) == 1 }

    /// Waits until the gate is open or `limit` has gone by (nil: for ever); whether it was open.
    @discardableResult public func wait(for limit: Duration? = nil) -> Bool {
        clinux_gate_wait(gate, nanoseconds(limit)) == 1
    }
}
