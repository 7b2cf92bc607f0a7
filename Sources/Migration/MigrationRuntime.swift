internal import LinuxSystem

/// Time, threads and waiting, as the engine sees them.
///
/// The engine never asks the system for them itself, so a simulator can run both sides of a migration with a clock and
/// an order of threads of its own, made from a seed.
public protocol MigrationRuntime: AnyObject, Sendable {
    /// Time since some fixed moment; never goes back.
    func now() -> Duration
    /// Starts a thread; `name` is shown by debuggers.
    func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) throws -> any MigrationThread
    /// Makes it quick to start so many threads, as far as that can be done in advance.
    func prepareThreads(_ count: Int)
    /// A gate that is closed.
    func makeGate() -> any MigrationGate
    /// How much the calling thread goes before others of this host, as far as that is permitted.
    func setUrgency(_ urgency: MigrationUrgency)
    /// Keeps the calling thread off the processors of the thread at the other end, which is on this host and does the
    /// same; nil lets it run anywhere again.
    func keepApart(as end: MigrationEnd?)
}

/// The two ends of a migration.
public enum MigrationEnd: Int, Sendable, CaseIterable {
    case source
    case destination
}

/// How much a thread goes before others. A host that is emptied is often a busy one.
public enum MigrationUrgency: Sendable {
    /// As everything else.
    case usual
    /// Before virtual CPUs, too: a guest in post-copy gains more by having its pages than by running without them, and is
    /// lost if a host fails before it has all.
    case hurried
    /// Before everything: a guest stands still, and each turn that such a thread waits for is downtime.
    case urgent
}

extension MigrationRuntime {
    public func prepareThreads(_ count: Int) {}
    public func keepApart(as end: MigrationEnd?) {}

    /// Keeps the calling thread off the processors of the one at the other end of `channel`, if that is on this host.
    func keepApart(as end: MigrationEnd, over channel: any MigrationChannel) {
        if channel.isWithinHost { keepApart(as: end) }
    }
}

/// A thread that was started and must be waited for.
public protocol MigrationThread: Sendable {
    /// Waits until the thread has ended.
    func join()
}

/// A gate that threads wait at until another opens it. Everything written before `open` is seen by those who pass.
public protocol MigrationGate: Sendable {
    func open()
    func close()
    /// Waits until the gate is open or the time is `deadline`; whether it was open.
    @discardableResult func wait(until deadline: Duration?) -> Bool
}

/// Time, threads and gates of this system.
public final class SystemRuntime: MigrationRuntime {
    private let start = ContinuousClock.now
    private let usualNiceness = ThreadUrgency.niceness

    public init() {}

    public func now() -> Duration { ContinuousClock.now - start }

    public func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) throws -> any MigrationThread {
        let work = try ThreadCache.shared.start(name: name) { [self] in
            // A thread begins as urgent and where the one is that made it, or as it was at the end of what it did before.
            setUrgency(.usual)
            keepApart(as: nil)
            body()
        }
        return SystemThread(work: work)
    }

    public func prepareThreads(_ count: Int) { ThreadCache.shared.prepare(count) }

    public func makeGate() -> any MigrationGate { SystemGate(runtime: self) }

    public func setUrgency(_ urgency: MigrationUrgency) {
        let niceness =
            switch urgency {
            case .usual: usualNiceness
            case .hurried: min(usualNiceness, ThreadUrgency.high)
            case .urgent: ThreadUrgency.highest
            }
        ThreadUrgency.set(niceness: niceness)
    }

    /// Left to itself the kernel wakes each end on the processor of the other, who has just sent or received, when the
    /// guests keep all others busy; and there the two take turns instead of working at the same time.
    public func keepApart(as end: MigrationEnd?) {
        if let end {
            ThreadPlacement.keep(toPart: end.rawValue, of: MigrationEnd.allCases.count)
        } else {
            ThreadPlacement.release()
        }
    }

    private struct SystemThread: MigrationThread {
        let work: ThreadCache.Work
        func join() { work.join() }
    }

    private struct SystemGate: MigrationGate {
        let gate = Gate()
        let runtime: SystemRuntime

        func open() { gate.open() }
        func close() { gate.close() }
        func wait(until deadline: Duration?) -> Bool {
            guard let deadline else { return gate.wait() }
            return gate.wait(for: max(.zero, deadline - runtime.now()))
        }
    }
}
