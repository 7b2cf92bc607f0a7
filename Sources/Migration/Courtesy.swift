/// Lets a hurried thread stand back for a moment: whenever a page that somebody waited for was served, because whoever has
/// it now shall run, and else now and then, because whoever shares the thread's processor would not run for long.
///
/// Only where processors are short; and for what was served not for more than a part of the time, because everybody gains
/// by the last page.
struct Courtesy {
    private let runtime: any MigrationRuntime
    /// Nobody opens it.
    private let gate: any MigrationGate
    private let start: Duration
    private var last: Duration
    private var given: Duration = .zero
    private var servedCount = 0

    /// About what it takes on a busy host until a guest runs that has got its page.
    static let duration: Duration = .microseconds(400)
    /// After how long it stands back without anything having been served.
    static let interval: Duration = .milliseconds(8)
    /// Of all time at most one part in so many.
    private static let partOfTime = 2

    init(runtime: any MigrationRuntime) {
        self.runtime = runtime
        gate = runtime.makeGate()
        start = runtime.now()
        last = start
    }

    /// - Parameter servedCount: How many pages that somebody waited for were served up to now.
    mutating func standBack(servedCount: Int) {
        let now = runtime.now()
        let isDue = now - last >= Self.interval
        if servedCount == self.servedCount && !isDue { return }
        self.servedCount = servedCount
        if !isDue && (given + Self.duration) * Self.partOfTime > now - start { return }
        last = now
        guard runtime.areProcessorsShort() else { return }
        gate.wait(until: now + Self.duration)
        last = runtime.now()
        given += last - now
    }
}
