internal import CLinux

/// How urgently the calling thread wants a processor: its niceness, of which Linux has one for each thread.
public enum ThreadUrgency {
    /// The niceness of threads that go before all others.
    public static let highest: Int32 = -20

    /// The niceness of threads that go before ordinary ones and are interrupted by the highest at once.
    public static let high: Int32 = -10

    /// From -20, the most urgent, to 19.
    public static var niceness: Int32 {
        var niceness: Int32 = 0
        return clinux_thread_niceness(&niceness) == 0 ? niceness : 0
    }

    /// Sets it; whether that is permitted (to lower it takes CAP_SYS_NICE or RLIMIT_NICE).
    @discardableResult public static func set(niceness: Int32) -> Bool { clinux_set_thread_niceness(niceness) == 0 }
}
