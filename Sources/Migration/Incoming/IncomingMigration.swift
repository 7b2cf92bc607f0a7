internal import MigrationStream
internal import Synchronization

/// Receives a guest: listens, loads, takes the disks, answers, lets it run.
///
/// `run` does all of it on the calling thread, which may block, and gives the run right back. All other functions may
/// be called by any thread while it runs.
public final class IncomingMigration: Sendable {
    let machine: any MigratableMachine
    let listener: any MigrationListener
    let dialect: StreamDialect
    let startsGuest: Bool
    let runtime: any MigrationRuntime
    private let observer: (any MigrationObserver)?
    let connections: IncomingConnections
    private let state = Mutex(IncomingStatistics())
    private let postcopy: Mutex<Postcopy>
    /// Opened when a paused post-copy may go on.
    private let mayRecover: any MigrationGate
    /// Open when pages that were asked for can be put into place, or never will be.
    private let mayReceiveUrgent: any MigrationGate

    /// What other threads reach of a post-copy.
    private struct Postcopy {
        var receiver: PostcopyReceiver?
        /// Those of the present link.
        var connections: IncomingConnections
        var listener: (any MigrationListener)?
        /// Tells a source that lost its link before it was told that everything is here.
        var farewell: (any MigrationThread)?
    }

    /// - Parameter startsGuest: false leaves the guest paused whatever it was at the source.
    public init(
        machine: any MigratableMachine, listener: any MigrationListener, dialect: StreamDialect = .init(),
        startsGuest: Bool = true, runtime: any MigrationRuntime = SystemRuntime(),
        observer: (any MigrationObserver)? = nil
    ) {
        self.machine = machine
        self.listener = listener
        self.dialect = dialect
        self.startsGuest = startsGuest
        self.runtime = runtime
        self.observer = observer
        mayRecover = runtime.makeGate()
        mayReceiveUrgent = runtime.makeGate()
        let relay = UrgentRelay()
        connections = IncomingConnections(
            listener: listener, runtime: runtime, machine: machine, dialect: dialect
        ) { channel, head in relay.migration?.receiveUrgent(channel, head) }
        postcopy = Mutex(Postcopy(connections: connections))
        relay.migration = self
    }

    /// Lets the connections reach the migration that has them.
    private final class UrgentRelay: @unchecked Sendable {
        // Safe: written before any thread is started.
        weak var migration: IncomingMigration?
    }

    /// Runs the migration to its end.
    public func run(_ guest: consuming PausedGuest) -> IncomingOutcome {
        enter(.setup)
        let session = IncomingSession(migration: self)
        let wasRunning: Bool
        defer {
            runtime.keepApart(as: nil)
            runtime.setUrgency(.usual)
        }
        do {
            switch try session.load() {
            case .all(let ran): wasRunning = ran
            case .devices(let ran):
                guard let receiver = session.postcopy?.receiver else { preconditionFailure("nobody receives") }
                return finishPostcopy(session, receiver, guest, wasRunning: ran)
            }
            enter(.completion)
            try session.takeDisks()
        } catch {
            let cause = connections.failure(or: error)
            mayReceiveUrgent.open()
            session.abandonMemory()
            session.answer(code: 1, because: "\(cause)")
            session.drain()
            session.end()
            enter(.failed)
            return .failed(cause, guest)
        }
        // Everything is here and the disks are ours, so the guest is: a source that does not get the answer finds the
        // locks taken, or has no disk and does not go on by itself.
        session.answer(code: 0)
        mayReceiveUrgent.open()
        var right = GuestRight.paused(guest)
        let start = runtime.now()
        if wasRunning && startsGuest {
            right = resume(right)
        }
        let resumed = runtime.now()
        machine.announce()
        session.tellArrival(resume: resumed - start, announce: runtime.now() - resumed)
        session.readDescription()
        session.end()
        enter(.completed)
        return .completed(right)
    }

    func resume(_ right: consuming GuestRight) -> GuestRight {
        switch consume right {
        case .running(let running): return .running(running)
        case .paused(let paused):
            let transition = machine.resume(paused)
            if let error = transition.error { update { $0.resumeError = "\(error)" } }
            return transition.right
        }
    }

    /// Ends the migration before it has loaded the guest: `run` fails. Without effect once the guest may run here.
    public func cancel() { if !statistics.phase.isPostcopy { connections.cancel() } }

    /// Cuts the link of a post-copy: it is paused then. Without effect in any other phase.
    public func pausePostcopy() {
        let (receiver, connections) = postcopy.withLock { ($0.receiver, $0.connections) }
        guard let receiver, statistics.phase.isPostcopy else { return }
        receiver.breakLink(MigrationError.paused)
        connections.cancel()
    }

    /// Waits for the source of a paused post-copy on `listener`.
    ///
    /// A post-copy that has completed takes a source again as well: one whose link was lost before it heard of that
    /// cannot know, and has its answer here.
    ///
    /// - Returns: False if there is nothing that a source could go on with.
    public func recover(from listener: any MigrationListener) -> Bool {
        let phase = statistics.phase
        if phase == .completed, let receiver = postcopy.withLock({ $0.receiver }) {
            return startFarewell(receiver, listener)
        }
        guard phase == .postcopyPaused else { return false }
        let isFirst = postcopy.withLock { state in
            if state.listener != nil { return false }
            state.listener = listener
            return true
        }
        mayRecover.open()
        return isFirst
    }

    func waitForListener() -> any MigrationListener {
        while true {
            mayRecover.close()
            let listener = postcopy.withLock { state in
                defer { state.listener = nil }
                return state.listener
            }
            if let listener { return listener }
            mayRecover.wait(until: nil)
        }
    }

    /// Waits until a source that came back to a completed post-copy has its answer, or has been lost again.
    public func waitForFarewell() {
        postcopy.withLock { state in
            defer { state.farewell = nil }
            return state.farewell
        }?.join()
    }

    /// Lets the farewell run on a thread, after the one before it, if any.
    private func startFarewell(_ receiver: PostcopyReceiver, _ listener: any MigrationListener) -> Bool {
        postcopy.withLock { $0.farewell == nil ? nil : $0.connections }?.cancel()
        waitForFarewell()
        let next = makeConnections(on: listener, for: receiver)
        setConnections(next)
        let thread = try? runtime.startThread("postcopy-farewell") { [self] in sayFarewell(receiver, next) }
        postcopy.withLock { $0.farewell = thread }
        return thread != nil
    }

    func setReceiver(_ receiver: PostcopyReceiver) { postcopy.withLock { $0.receiver = receiver } }

    /// Memory is watched: pages that were missing can be put into place.
    func admitUrgentPages() { mayReceiveUrgent.open() }

    func setConnections(_ connections: IncomingConnections) { postcopy.withLock { $0.connections = connections } }

    /// The first pages may come before LISTEN has been carried out.
    private func receiveUrgent(_ channel: any MigrationChannel, _ head: UInt32) {
        mayReceiveUrgent.wait(until: nil)
        postcopy.withLock { $0.receiver }?.receiveUrgent(from: channel, head: head)
    }

    /// What was received so far.
    public var statistics: IncomingStatistics {
        state.withLock { state in
            var statistics = state
            statistics.refusedConnectionCount = connections.refusedCount
            statistics.postcopy = postcopy.withLock { $0.receiver }?.statistics
            return statistics
        }
    }

    func enter(_ phase: IncomingPhase) {
        state.withLock { $0.phase = phase }
        observer?.incomingMigration(entered: phase)
    }

    func update(_ body: (inout IncomingStatistics) -> Void) { state.withLock { body(&$0) } }
}

/// What an incoming migration has received.
public struct IncomingStatistics: Equatable, Sendable {
    public var phase = IncomingPhase.setup
    /// Connections that were not of this migration.
    public var refusedConnectionCount = 0
    /// Why the loaded guest could not be started, if it could not.
    public var resumeError: String?
    /// Once the source has gone over to post-copy.
    public var postcopy: IncomingPostcopyStatistics?
    /// What cut the link of a post-copy that is paused.
    public var linkError: String?
    /// How often a cut link was replaced.
    public var recoveryCount = 0

    public init() {}
}

/// What became of an incoming migration, and of the right to run the guest.
public enum IncomingOutcome: ~Copyable {
    /// The guest is here: running, or paused if it was so at the source or is to stay so.
    case completed(GuestRight)
    /// It did not work. What was loaded is of no use; the guest must not run here.
    case failed(any Error, PausedGuest)
}
