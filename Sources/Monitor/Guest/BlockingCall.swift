internal import LinuxSystem
internal import Synchronization

/// Runs something that may block on a thread that may, so that no thread of the task pool waits for it: on the one that
/// waits for this task anyway (`waitFor`), else on one of its own, named `name`.
func onThread<Value: Sendable>(
    named name: String, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    if let thread = WaitingThread.current, thread.isCurrent { return try body() }
    return try await withCheckedThrowingContinuation { continuation in
        do {
            // The thread ends with the continuation's resume, so nobody has to wait for it.
            _ = try BlockingThread(name: name) { continuation.resume(with: Result(catching: body)) }
        } catch { continuation.resume(throwing: error) }
    }
}

/// Waits, on a thread that may block, for something that only a task can do. The task runs on this thread.
///
/// A guest stands still while this is called: nothing is handed to a thread that would have to be made or woken first,
/// or that is less urgent than this one.
func waitFor<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
    let thread = WaitingThread()
    let box = ResultBox<Value>()
    let task = Task(executorPreference: thread) {
        do {
            box.set(.success(try await WaitingThread.$current.withValue(thread) { try await body() }))
        } catch { box.set(.failure(error)) }
        thread.finish()
    }
    thread.serve()
    return try withExtendedLifetime(task) { try box.get() }
}

/// A thread that waits for a task, and runs it meanwhile.
private final class WaitingThread: TaskExecutor {
    /// The one that waits for the present task.
    @TaskLocal static var current: WaitingThread?

    private struct State {
        var jobs: [UnownedJob] = []
        var isFinished = false
    }

    private let identity = ThreadIdentity.current
    private let state = Mutex(State())
    private let gate = Gate()

    var isCurrent: Bool { ThreadIdentity.current == identity }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let isLate = state.withLock { state in
            if !state.isFinished { state.jobs.append(job) }
            return state.isFinished
        }
        // Nothing of the task is left then; what yet comes must be run by somebody.
        if isLate { return globalConcurrentExecutor.enqueue(ExecutorJob(job)) }
        gate.open()
    }

    func finish() {
        state.withLock { $0.isFinished = true }
        gate.open()
    }

    /// Runs the task until `finish` is called.
    func serve() {
        while true {
            gate.wait()
            gate.close()
            let (jobs, isFinished) = state.withLock { state in
                defer { state.jobs = [] }
                return (state.jobs, state.isFinished)
            }
            for job in jobs { job.runSynchronously(on: asUnownedTaskExecutor()) }
            if isFinished { return }
        }
    }
}

/// A result that one side sets and the other takes after it has been told.
private final class ResultBox<Value: Sendable>: @unchecked Sendable {
    // Safe: written before the thread that waits is told, and read after it.
    private var result: Result<Value, any Error>?
    func set(_ result: Result<Value, any Error>) { self.result = result }
    func get() throws -> Value {
        guard let result else { preconditionFailure("taken before it was set") }
        return try result.get()
    }
}
