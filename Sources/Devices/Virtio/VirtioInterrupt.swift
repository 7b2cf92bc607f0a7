internal import Synchronization

/// The interrupt status register of a virtio device and the line it drives: high while any bit is set.
///
/// Both change under one lock; otherwise an acknowledgement could lower the line after a new reason raised it.
public final class VirtioInterrupt: Sendable {
    /// Why the driver is interrupted.
    public struct Reason: OptionSet, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        public static let queue = Reason(rawValue: 1)
        public static let configuration = Reason(rawValue: 2)
    }

    private struct State {
        var reasons: Reason = []
        var generation: UInt32 = 0
    }

    private let state = Mutex(State())
    private let line: any InterruptLine

    init(line: any InterruptLine) { self.line = line }

    public var reasons: Reason { state.withLock { $0.reasons } }

    /// Counts changes of the configuration space, so that a driver notices one between two reads.
    public var configurationGeneration: UInt32 { state.withLock { $0.generation } }

    func raise(_ reason: Reason) {
        state.withLock { state in
            if reason.contains(.configuration) { state.generation &+= 1 }
            state.reasons.formUnion(reason)
            line.setLevel(true)
        }
    }

    func acknowledge(_ reasons: Reason) {
        state.withLock { state in
            state.reasons.subtract(reasons)
            line.setLevel(!state.reasons.isEmpty)
        }
    }

    /// Sets the register and the line to what a migration brought, or to nothing at a reset.
    func set(_ reasons: Reason) {
        state.withLock { state in
            state.reasons = reasons
            line.setLevel(!reasons.isEmpty)
        }
    }

    /// Drives the line again, after a load of the interrupt controller's state.
    func reassert() { state.withLock { line.setLevel(!$0.reasons.isEmpty) } }
}
