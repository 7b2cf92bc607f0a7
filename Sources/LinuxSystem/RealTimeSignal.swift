internal import CLinux
internal import Glibc

/// A signal whose only effect is that a system call of the thread that gets it returns: the kick.
///
/// A signal that lands just before the call would be lost, so the receiver has a flag as well that the call itself
/// looks at (KVM's `immediate_exit`), set before the signal is sent. Reaches every `BlockingThread`; threads of the task
/// pool block all signals.
public struct RealTimeSignal: Sendable {
    /// The number of the signal.
    public let number: Int32

    /// Installs a handler that does nothing for SIGRTMIN + `index`, for the whole process.
    public init(index: Int32) throws(SystemError) {
        number = clinux_real_time_signal(index)
        _ = try check(clinux_install_interrupting_signal(number), "sigaction", "SIGRTMIN+\(index)")
    }

    /// Interrupts a thread of this process; one that has ended is no error.
    public func send(to thread: ThreadIdentity) { _ = clinux_signal_thread(thread.number, number) }
}

/// A thread as the kernel knows it.
public struct ThreadIdentity: Hashable, Sendable {
    /// The kernel's thread id.
    public let number: Int32

    public init(number: Int32) { self.number = number }

    /// Whether it is a thread of this process that runs.
    public var isOwn: Bool { clinux_signal_thread(number, 0) == 0 }

    /// Whether it is one of the kernel's own threads.
    public var isOfKernel: Bool {
        // Behind the name: state, parent, group, session, terminal, its group, flags (proc_pid_stat(5)).
        guard let line = FileSystem.text(of: "/proc/\(number)/stat"), let name = line.lastIndex(of: ")") else {
            return false
        }
        let fields = line[name...].split(separator: " ")
        guard fields.count > 7, let flags = UInt32(fields[7]) else { return false }
        return flags & Self.kernelThreadFlag != 0
    }

    /// PF_KTHREAD of the kernel's include/linux/sched.h.
    private static let kernelThreadFlag: UInt32 = 0x0020_0000

    /// The thread that asks.
    public static var current: ThreadIdentity { ThreadIdentity(number: clinux_thread_id()) }
}
