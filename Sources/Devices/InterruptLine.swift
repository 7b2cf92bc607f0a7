internal import Synchronization

/// A wire to an interrupt controller.
public protocol InterruptLine: Sendable {
    /// Sets the level of the wire. A level it already has is no event.
    func setLevel(_ isHigh: Bool)
}

extension InterruptLine {
    /// One rising edge, for lines the guest programs as edge-triggered.
    func pulse() {
        setLevel(true)
        setLevel(false)
    }
}

/// A line that leads nowhere.
public struct UnconnectedLine: InterruptLine {
    public init() {}
    public func setLevel(_ isHigh: Bool) {}
}
