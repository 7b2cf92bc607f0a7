internal import CLinux
internal import Glibc

/// Waits for many descriptors at once: epoll, level triggered.
///
/// Each descriptor has a key of the caller's choice, which comes back with its events. Adding, changing and removing
/// may happen on any thread while another waits.
public struct Poller: ~Copyable, Sendable {
    /// What to wait for, and what happened.
    public struct Events: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        public static let readable = Events(rawValue: EPOLLIN.rawValue)
        public static let writable = Events(rawValue: EPOLLOUT.rawValue)
        /// The peer has ended sending.
        public static let peerEnded = Events(rawValue: EPOLLRDHUP.rawValue)
        /// An error, reported whether asked for or not.
        public static let error = Events(rawValue: EPOLLERR.rawValue)
        /// Hung up, reported whether asked for or not.
        public static let hangUp = Events(rawValue: EPOLLHUP.rawValue)
    }

    /// A descriptor that is ready.
    public struct Ready: Equatable, Sendable {
        public let key: UInt64
        public let events: Events

        public init(key: UInt64, events: Events) {
            self.key = key
            self.events = events
        }
    }

    private let descriptor: OwnedDescriptor

    public init() throws(SystemError) {
        descriptor = OwnedDescriptor(adopting: try check(clinux_epoll_create(), "epoll_create1"))
    }

    /// Starts to wait for `events` of a descriptor. It must be removed before it is closed.
    public func add(_ number: Int32, for events: Events, key: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_ADD, number, events, key)
    }

    /// Changes what is waited for.
    public func change(_ number: Int32, to events: Events, key: UInt64) throws(SystemError) {
        try control(EPOLL_CTL_MOD, number, events, key)
    }

    public func remove(_ number: Int32) throws(SystemError) {
        try control(EPOLL_CTL_DEL, number, [], 0)
    }

    /// The ready descriptors, at most `maximumCount`. Empty when `limit` has gone by or a signal came.
    public func wait(for limit: Duration? = nil, maximumCount: Int = 64) throws(SystemError) -> [Ready] {
        try withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: maximumCount) {
            entries throws(SystemError) in
            let count = clinux_epoll_wait(
                descriptor.number, entries.baseAddress, Int32(entries.count), milliseconds(limit))
            return (0..<Int(try check(count, "epoll_wait"))).map { index in
                let entry = entries.baseAddress.unsafelyUnwrapped + index
                return Ready(key: clinux_epoll_key(entry), events: Events(rawValue: clinux_epoll_events(entry)))
            }
        }
    }

    private func control(_ operation: Int32, _ number: Int32, _ events: Events, _ key: UInt64) throws(SystemError) {
        _ = try check(clinux_epoll_control(descriptor.number, operation, number, events.rawValue, key), "epoll_ctl")
    }
}
