internal import LinuxSystem
internal import Synchronization

/// Bytes of a serial port, cut into lines that tests can wait for.
public final class SerialLines: Sendable {
    private struct State {
        var lines: [String] = []
        var partial: [UInt8] = []
        var isEnded = false
        var waiters: [ObjectIdentifier: Gate] = [:]
    }

    private let state = Mutex(State())

    public init() {}

    /// All complete lines so far.
    public var all: [String] { state.withLock { $0.lines } }

    /// Whether no more will come.
    public var isEnded: Bool { state.withLock { $0.isEnded } }

    /// Takes a byte; the line that it completed, without its end.
    @discardableResult public func append(_ byte: UInt8) -> String? {
        guard byte == 0x0A else {
            if byte != 0x0D { state.withLock { $0.partial.append(byte) } }
            return nil
        }
        return state.withLock { state in
            let line = String(decoding: state.partial, as: UTF8.self)
            state.partial = []
            state.lines.append(line)
            for gate in state.waiters.values { gate.open() }
            return line
        }
    }

    /// Says that no more will come; waiters return.
    public func end() {
        state.withLock { state in
            state.isEnded = true
            for gate in state.waiters.values { gate.open() }
        }
    }

    /// Waits until `find` gives a value for the lines so far; nil when `limit` has gone by or the lines ended first.
    public func wait<Value>(for limit: Duration, until find: ([String]) -> Value?) -> Value? {
        let gate = Gate()
        let end = ContinuousClock.now + limit
        state.withLock { $0.waiters[ObjectIdentifier(gate)] = gate }
        defer { state.withLock { _ = $0.waiters.removeValue(forKey: ObjectIdentifier(gate)) } }
        while true {
            let (lines, isEnded) = state.withLock { state in
                gate.close()
                return (state.lines, state.isEnded)
            }
            if let value = find(lines) { return value }
            let left = end - ContinuousClock.now
            if isEnded || left <= .zero { return nil }
            gate.wait(for: left)
        }
    }
}
