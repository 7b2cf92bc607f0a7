internal import GuestMemory
internal import LinuxSystem
public import Migration
internal import Synchronization

/// Both sides of a migration with machines of the simulation, moved by real threads over a real transport.
///
/// The guest does not run on its own here (the simulation's clock stands still); it is written to between the attempts.
public final class ThreadedPair: @unchecked Sendable {
    // Safe: each machine is used by one side's thread, and looked at when both have been waited for.
    public let source: SimulatedMachine
    public private(set) var destination: SimulatedMachine
    private let simulation = Simulation(seed: 1)
    private let destinationPageCount: Int
    private var guest: GuestRight?

    public init(pageCount: Int = 1024, destinationPageCount: Int? = nil, sharesMemory: Bool = false) throws {
        self.destinationPageCount = destinationPageCount ?? pageCount
        source = try SimulatedMachine(
            name: "source", simulation: simulation, pageCounts: [pageCount, 3], sharesMemory: sharesMemory)
        destination = try SimulatedMachine(
            name: "destination", simulation: simulation, pageCounts: [self.destinationPageCount, 3],
            sharesMemory: sharesMemory)
        guest = source.boot()
    }

    public func renewDestination() throws {
        destination = try SimulatedMachine(
            name: "destination", simulation: simulation, pageCounts: [destinationPageCount, 3])
    }

    /// Both sides at once.
    public func migrate(
        _ connector: any MigrationConnector, _ listener: any MigrationListener, _ options: MigrationOptions,
        runtime: any MigrationRuntime = SystemRuntime()
    ) throws -> SimulatedPair.Attempt {
        try run(connector, listener, options, runtime) { _ in }
    }

    /// Both sides, and a cancel after the first bytes; how long its answer took.
    public func cancelled(
        _ connector: any MigrationConnector, _ listener: any MigrationListener, _ options: MigrationOptions,
        _ clock: ContinuousClock
    ) throws -> (SimulatedPair.Attempt, Duration) {
        let moment = Mutex<ContinuousClock.Instant?>(nil)
        let attempt = try run(connector, listener, options, SystemRuntime()) { outgoing in
            while outgoing.statistics.phase != .pass(1) {}
            moment.withLock { $0 = clock.now }
            outgoing.cancel()
        }
        return (attempt, clock.now - (moment.withLock { $0 } ?? clock.now))
    }

    private func run(
        _ connector: any MigrationConnector, _ listener: any MigrationListener, _ options: MigrationOptions,
        _ runtime: any MigrationRuntime, meanwhile: (OutgoingMigration) -> Void
    ) throws -> SimulatedPair.Attempt {
        let incoming = IncomingMigration(
            machine: destination, listener: listener, dialect: options.dialect, runtime: runtime)
        let received = Mutex(SimulatedPair.Attempt())
        let outgoing = OutgoingMigration(machine: source, connector: connector, options: options, runtime: runtime)
        let sent = Mutex(SimulatedPair.Attempt())
        try withoutActuallyEscapingThreads { start in
            start("destination") { [self] in
                let attempt = runDestination(incoming)
                received.withLock { $0 = attempt }
            }
            start("source") { [self] in
                let attempt = runSource(outgoing)
                sent.withLock { $0 = attempt }
                if attempt.source != .completed { incoming.cancel() }
            }
            meanwhile(outgoing)
        }
        var attempt = sent.withLock { $0 }
        received.withLock { there in
            attempt.destinationHasGuest = there.destinationHasGuest
            attempt.destinationError = there.destinationError
            attempt.isEqual = there.isEqual
        }
        return attempt
    }

    /// The source alone.
    public func send(
        _ connector: any MigrationConnector, _ options: MigrationOptions, hasReturnPath: Bool = true
    ) throws -> SimulatedPair.Attempt {
        var options = options
        options.hasReturnPath = hasReturnPath
        return runSource(OutgoingMigration(machine: source, connector: connector, options: options))
    }

    /// The destination alone.
    public func receive(
        _ listener: any MigrationListener, _ options: MigrationOptions
    ) throws -> SimulatedPair.Attempt {
        runDestination(IncomingMigration(machine: destination, listener: listener, dialect: options.dialect))
    }

    private func runSource(_ outgoing: OutgoingMigration) -> SimulatedPair.Attempt {
        var attempt = SimulatedPair.Attempt()
        guard let guest = guest.take() else { return attempt }
        switch outgoing.run(guest) {
        case .completed: attempt.source = .completed
        case .failed(let error, let right):
            attempt.sourceError = "\(error)"
            self.guest = consume right
        case .uncertain(let error, _):
            attempt.source = .uncertain
            attempt.sourceError = "\(error)"
        }
        attempt.statistics = outgoing.statistics
        return attempt
    }

    private func runDestination(_ incoming: IncomingMigration) -> SimulatedPair.Attempt {
        var attempt = SimulatedPair.Attempt()
        let outcome = incoming.run(PausedGuest())
        switch consume outcome {
        case .completed:
            attempt.destinationHasGuest = true
            attempt.isEqual = source.checksum == destination.checksum
        case .failed(let error, _): attempt.destinationError = "\(error)"
        }
        return attempt
    }
}

extension SimulatedPair.Attempt {
    /// Whether both sides say so, and memory is equal.
    public var isMoved: Bool { source == .completed && destinationHasGuest && isEqual }
}

/// Starts threads, runs `body`, and waits for them.
private func withoutActuallyEscapingThreads(
    _ body: (_ start: (String, @escaping @Sendable () -> Void) -> Void) throws -> Void
) throws {
    var threads: [BlockingThread] = []
    var failure: (any Error)?
    try body { name, work in
        do { threads.append(try BlockingThread(name: name, body: work)) } catch { failure = error }
    }
    for thread in threads { thread.join() }
    if let failure { throw failure }
}
