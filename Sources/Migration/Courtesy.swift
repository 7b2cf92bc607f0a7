/// Lets a hurried thread stand back for a moment whenever a page that somebody waited for was served: whoever has it now
/// shall run, and a hurried thread would keep the processor from him for a whole turn.
///
/// Only where processors are short, which shows by the kernel having taken this thread's since it stood back last; and not
/// for more than a part of the time, because everybody gains by the last page.
struct Courtesy {
    private let runtime: any MigrationRuntime
    /// Nobody opens it.
    private let gate: any MigrationGate
    private let start: Duration
    private var given: Duration = .zero
    private var servedCount = 0
    private var interruptionCount = 0

    /// About what it takes on a busy host until a guest runs that has got its page.
    static let duration: Duration = .microseconds(400)
    /// Of all time at most one part in so many.
    private static let partOfTime = 2

    init(runtime: any MigrationRuntime) {
        self.runtime = runtime
        gate = runtime.makeGate()
        start = runtime.now()
    }

    /// - Parameter servedCount: How many pages that somebody waited for were served up to now.
    mutating func standBack(servedCount: Int) {
        if servedCount == self.servedCount { return }
        self.servedCount = servedCount
        let interruptionCount = runtime.interruptionCount()
        if interruptionCount == self.interruptionCount { return }
        self.interruptionCount = interruptionCount
        let now = runtime.now()
        if (given + Self.duration) * Self.partOfTime > now - start { return }
        gate.wait(until: now + Self.duration)
        given += runtime.now() - now
    }
}
