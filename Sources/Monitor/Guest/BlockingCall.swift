internal import LinuxSystem

/// Runs something that may block on a thread of its own, so that no task's thread waits for it.
func onThread<Value: Sendable>(
    named name: String, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        do {
            // The thread ends with the continuation's resume, so nobody has to wait for it.
            _ = try BlockingThread(name: name) { continuation.resume(with: Result(catching: body)) }
        } catch { continuation.resume(throwing: error) }
    }
}

/// Waits, on a thread that may block, for something that only a task can do.
func waitFor<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
    let gate = Gate()
    let box = ResultBox<Value>()
    Task {
        do { box.set(.success(try await body())) } catch { box.set(.failure(error)) }
        gate.open()
    }
    gate.wait()
    return try box.get()
}

/// A result that one side sets and the other takes after a gate has opened.
private final class ResultBox<Value: Sendable>: @unchecked Sendable {
    // Safe: written before the gate opens and read after it.
    private var result: Result<Value, any Error>?
    func set(_ result: Result<Value, any Error>) { self.result = result }
    func get() throws -> Value {
        guard let result else { preconditionFailure("taken before it was set") }
        return try result.get()
    }
}
