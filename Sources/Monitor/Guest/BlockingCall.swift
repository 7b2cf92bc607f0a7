internal import LinuxSystem
internal import Synchronization

/// Runs something that may block on a thread that may, so that no task's thread waits for it: on one that waits for this
/// task anyway (`waitFor`), else on one of its own, named `name`.
func onThread<Value: Sendable>(
    named name: String, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        let work: @Sendable () -> Void = { continuation.resume(with: Result(catching: body)) }
        if let thread = WaitingThread.current, thread.run(work) { return }
        do {
            // The thread ends with the continuation's resume, so nobody has to wait for it.
            _ = try BlockingThread(name: name, body: work)
        } catch { continuation.resume(throwing: error) }
    }
}

/// Waits, on a thread that may block, for something that only a task can do; what may block in it is done here.
///
/// A guest stands still while this is called, so nothing is left to a thread that would have to be made first, or that
/// has another priority than this one.
func waitFor<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
    let thread = WaitingThread()
    let box = ResultBox<Value>()
    Task {
        do {
            box.set(.success(try await WaitingThread.$current.withValue(thread) { try await body() }))
        } catch { box.set(.failure(error)) }
        thread.finish()
    }
    thread.serve()
    return try box.get()
}

/// A thread that waits for a task, and works for it meanwhile.
private final class WaitingThread: Sendable {
    /// The one that waits for the present task.
    @TaskLocal static var current: WaitingThread?

    private struct State {
        var work: [@Sendable () -> Void] = []
        var isFinished = false
    }

    private let state = Mutex(State())
    private let gate = Gate()

    /// Has `work` done by the thread; false if that no longer waits, for a task that outlives the one it waited for.
    func run(_ work: @escaping @Sendable () -> Void) -> Bool {
        let isWaiting = state.withLock { state in
            if !state.isFinished { state.work.append(work) }
            return !state.isFinished
        }
        if isWaiting { gate.open() }
        return isWaiting
    }

    func finish() {
        state.withLock { $0.isFinished = true }
        gate.open()
    }

    /// Works until `finish` is called.
    func serve() {
        while true {
            gate.wait()
            gate.close()
            let (work, isFinished) = state.withLock { state in
                defer { state.work = [] }
                return (state.work, state.isFinished)
            }
            for each in work { each() }
            if isFinished { return }
        }
    }
}

/// A result that one side sets and the other takes after the thread that waits has been told.
private final class ResultBox<Value: Sendable>: @unchecked Sendable {
    // Safe: written before the thread is told and read after it.
    private var result: Result<Value, any Error>?
    func set(_ result: Result<Value, any Error>) { self.result = result }
    func get() throws -> Value {
        guard let result else { preconditionFailure("taken before it was set") }
        return try result.get()
    }
}
