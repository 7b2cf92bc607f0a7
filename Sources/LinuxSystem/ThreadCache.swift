internal import CLinux
internal import Glibc
internal import Synchronization

/// Threads that wait for work, so that who is in a hurry has not to make one.
///
/// A thread takes milliseconds to make on a busy host, or when others of the process change its address space: the
/// kernel needs that for the stack. One that has ended its work waits for the next.
///
///     start -> (idle one, or a new one) runs body -> idle, or ends if there are enough
public final class ThreadCache: Sendable {
    /// Those of the process.
    public static let shared = ThreadCache()

    /// Idle threads that are kept at most.
    private static let idleLimit = 8

    private let idle = Mutex<[Worker]>([])
    var idleCount: Int { idle.withLock { $0.count } }

    /// A body on its way to its thread, and who waits for its end.
    public final class Work: Sendable {
        fileprivate let name: String
        fileprivate let body: @Sendable () -> Void
        fileprivate let end = Gate()

        fileprivate init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }

        /// Waits until the body has returned.
        public func join() { end.wait() }
    }

    private final class Worker: Sendable {
        let wake = Gate()
        let work = Mutex<Work?>(nil)

        func give(_ next: Work) {
            work.withLock { $0 = next }
            wake.open()
        }
    }

    /// Runs `body` on a thread named `name` (the kernel keeps 15 bytes).
    public func start(name: String, body: @escaping @Sendable () -> Void) throws(SystemError) -> Work {
        let work = Work(name: name, body: body)
        if let worker = idle.withLock({ $0.popLast() }) {
            worker.give(work)
        } else {
            try makeWorker(for: work)
        }
        return work
    }

    /// Makes threads until so many are idle, as far as that is possible.
    public func prepare(_ count: Int) {
        let missing = min(count, Self.idleLimit) - idle.withLock { $0.count }
        for _ in 0..<max(0, missing) {
            // Whoever needs one makes it then, and is told why that fails.
            guard (try? makeWorker(for: nil)) != nil else { return }
        }
    }

    private func makeWorker(for work: Work?) throws(SystemError) {
        let worker = Worker()
        if let work { worker.give(work) }
        _ = try BlockingThread(name: "idle") { [self] in run(worker) }
        if work == nil { idle.withLock { $0.append(worker) } }
    }

    private func run(_ worker: Worker) {
        // The C library makes a thread's part of the heap at its first use.
        free(malloc(1))
        while true {
            worker.wake.wait()
            worker.wake.close()
            let work = worker.work.withLock { work in
                defer { work = nil }
                return work
            }
            guard let work else { continue }
            _ = clinux_name_thread(work.name)
            work.body()
            _ = clinux_name_thread("idle")
            let isKept = idle.withLock { idle in
                if idle.count >= Self.idleLimit { return false }
                idle.append(worker)
                return true
            }
            work.end.open()
            if !isKept { return }
        }
    }
}
