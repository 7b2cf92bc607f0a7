internal import CLinux

/// How urgently a thread wants a processor: its niceness, of which Linux has one for each thread.
///
/// From -20, the most urgent, to 19. To lower it takes CAP_SYS_NICE or RLIMIT_NICE.
public enum ThreadUrgency {
    /// The niceness of threads that go before all others.
    public static let highest: Int32 = -20

    /// The niceness of threads that go before ordinary ones and are interrupted by the highest at once.
    public static let high: Int32 = -18

    /// The calling thread's.
    public static var niceness: Int32 { niceness(number: 0) ?? 0 }

    /// Of any thread of the system; nil if there is none.
    public static func niceness(of thread: ThreadIdentity) -> Int32? { niceness(number: thread.number) }

    private static func niceness(number: Int32) -> Int32? {
        var niceness: Int32 = 0
        return clinux_thread_niceness(number, &niceness) == 0 ? niceness : nil
    }

    /// Sets the calling thread's; whether that is permitted.
    @discardableResult public static func set(niceness: Int32) -> Bool { clinux_set_thread_niceness(0, niceness) == 0 }

    /// Sets that of any thread of the system; whether there is one and it is permitted.
    @discardableResult public static func set(niceness: Int32, of thread: ThreadIdentity) -> Bool {
        clinux_set_thread_niceness(thread.number, niceness) == 0
    }
}
