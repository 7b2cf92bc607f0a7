internal import CLinux
internal import Glibc

/// A counter that one side raises and the other waits for: an eventfd.
///
/// KVM raises and reads them too (ioeventfd, irqfd). Non-blocking; `wait` polls.
public struct EventDescriptor: ~Copyable, Sendable {
    public let descriptor: OwnedDescriptor

    /// The number, for `Poller` and KVM.
    public var number: Int32 { descriptor.number }

    public init() throws(SystemError) {
        descriptor = OwnedDescriptor(adopting: try check(clinux_eventfd(0), "eventfd"))
    }

    /// Adds one; wakes whoever waits. May be called from any thread.
    public func notify() {
        var one: UInt64 = 1
        // EAGAIN means that the counter is at its limit: the waiter is notified anyway.
        _ = clinux_write(descriptor.number, &one, 8)
    }

    /// Takes the counter and sets it to 0; 0 when nothing was notified. Does not wait.
    @discardableResult public func drain() -> UInt64 {
        var value: UInt64 = 0
        return clinux_read(descriptor.number, &value, 8) == 8 ? value : 0
    }

    /// Waits until notified or `limit` has gone by (nil: for ever), takes the counter; 0 when the time was up.
    public func wait(for limit: Duration? = nil) -> UInt64 {
        var entry = pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0)
        _ = clinux_poll(&entry, 1, milliseconds(limit))
        return drain()
    }
}

/// `limit` as poll and epoll take it: milliseconds, rounded up; -1 for ever.
func milliseconds(_ limit: Duration?) -> Int32 {
    guard let limit else { return -1 }
    let (seconds, attoseconds) = limit.components
    if seconds < 0 { return 0 }
    if seconds > 2_000_000 { return Int32.max }
    return Int32(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
}

/// `limit` in nanoseconds; -1 for ever.
func nanoseconds(_ limit: Duration?) -> Int64 {
    guard let limit else { return -1 }
    let (seconds, attoseconds) = limit.components
    if seconds < 0 { return 0 }
    return seconds > 1 << 32 ? 1 << 62 : seconds * 1_000_000_000 + attoseconds / 1_000_000_000
}
