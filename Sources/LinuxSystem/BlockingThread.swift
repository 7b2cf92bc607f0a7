internal import CLinux
internal import Glibc
internal import Synchronization

/// A named thread that may block, and is waited for.
///
/// Data moves on such threads; nothing that blocks runs in a task.
public final class BlockingThread: Sendable {
    private let handle: Mutex<pthread_t?>

    private final class Start {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Starts a thread named `name` (the kernel keeps 15 bytes) that runs `body`.
    public init(name: String, body: @escaping @Sendable () -> Void) throws(SystemError) {
        var thread = pthread_t()
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        let code = pthread_create(&thread, nil, runThread, start.toOpaque())
        if code != 0 {
            start.release()
            throw SystemError(call: "pthread_create", subject: name, number: code)
        }
        handle = Mutex(thread)
    }

    // Nobody waits for it any more: what it has is given back when it ends.
    deinit { if let thread = handle.withLock({ $0 }) { pthread_detach(thread) } }

    /// Waits until the body has returned. Only the first call waits.
    public func join() {
        let thread = handle.withLock { handle in
            let thread = handle
            handle = nil
            return thread
        }
        if let thread { pthread_join(thread, nil) }
    }

    fileprivate static func run(_ argument: UnsafeMutableRawPointer) {
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        _ = clinux_name_thread(start.name)
        // A thread inherits its signal mask, and those of the task pool block everything: a kick would never arrive.
        _ = clinux_unblock_real_time_signals()
        start.body()
    }
}

// At file scope: a closure written in an isolated function would carry that isolation to the new thread.
private func runThread(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    BlockingThread.run(argument!)
    return nil
}
