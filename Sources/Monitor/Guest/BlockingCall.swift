internal import LinuxSystem

/// Runs something that may block on a thread named `name`, so that no thread of the task pool waits for it.
func onThread<Value: Sendable>(
    named name: String, _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        do {
            // The work ends with the continuation's resume, so nobody has to wait for it.
            _ = try ThreadCache.shared.start(name: name) { continuation.resume(with: Result(catching: body)) }
        } catch { continuation.resume(throwing: error) }
    }
}
