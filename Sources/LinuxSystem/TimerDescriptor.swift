internal import CLinux

/// A timer that a `Poller` can wait for: a timerfd on the monotonic clock.
public struct TimerDescriptor: ~Copyable, Sendable {
    public let descriptor: OwnedDescriptor

    /// The number, for `Poller`.
    public var number: Int32 { descriptor.number }

    public init() throws(SystemError) {
        descriptor = OwnedDescriptor(adopting: try check(clinux_timerfd(), "timerfd_create"))
    }

    /// Fires after `first`, then each `interval` if there is one. A `first` of zero or less stops the timer.
    public func start(after first: Duration, every interval: Duration? = nil) throws(SystemError) {
        let start = max(0, nanoseconds(first))
        _ = try check(
            clinux_timerfd_set(descriptor.number, start, interval.map { max(0, nanoseconds($0)) } ?? 0),
            "timerfd_settime")
    }

    /// Stops the timer; one that has fired and was not drained stays readable no longer.
    public func stop() throws(SystemError) {
        _ = try check(clinux_timerfd_set(descriptor.number, 0, 0), "timerfd_settime")
    }

    /// How often it has fired since the last call. Does not wait.
    @discardableResult public func drain() -> UInt64 {
        var count: UInt64 = 0
        return clinux_read(descriptor.number, &count, 8) == 8 ? count : 0
    }
}
