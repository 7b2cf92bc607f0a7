internal import CLinux

/// What processes have used of processors.
public enum ProcessorTime {
    /// Of a process with all its threads, ended ones too; nil when there is no such process.
    public static func ofProcess(_ processID: Int32) -> Duration? {
        var nanoseconds: Int64 = 0
        guard clinux_process_time(processID, &nanoseconds) == 0 else { return nil }
        return .nanoseconds(nanoseconds)
    }

    /// Of one thread of a process; nil when it has ended, or the kernel does not count that.
    public static func ofThread(_ threadID: Int, in processID: Int32) -> Duration? {
        guard let text = FileSystem.text(of: "/proc/\(processID)/task/\(threadID)/schedstat"),
            let nanoseconds = text.split(separator: " ").first.flatMap({ Int64($0) })
        else { return nil }
        return .nanoseconds(nanoseconds)
    }
}
