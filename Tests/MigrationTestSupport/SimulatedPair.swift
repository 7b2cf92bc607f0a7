public import Migration

/// Both sides of a migration in one simulation: what they are, and what becomes of them.
public final class SimulatedPair: @unchecked Sendable {
    // Safe: only the thread whose turn it is touches it.
    public let simulation: Simulation
    public let source: SimulatedMachine
    public var destination: SimulatedMachine
    public var network: SimulatedNetwork
    public var options = MigrationOptions()
    public var destinationDialect: StreamDialect?
    public var policy = MigrationPolicy()
    public let locks: [SharedLock]
    private let pageCounts: [Int]
    private let unitPageCount: Int
    private let sharesMemory: Bool
    /// How often the guest has set out.
    public private(set) var attemptCount = 0
    /// How often an operator has connected the two sides again.
    public private(set) var recoveryCount = 0
    /// How often a source was connected with a destination that had completed without it.
    public private(set) var farewellCount = 0
    /// Moments at which the link is cut, counted from the beginning of post-copy or the last recovery.
    public var cuts: [Duration] = []
    private var guest: GuestRight?
    private var outgoing: OutgoingMigration?
    private var incoming: IncomingMigration?

    /// What became of one attempt.
    public struct Attempt: Sendable {
        public enum Source: Equatable, Sendable {
            case completed
            case failed
            case uncertain
        }
        public var source = Source.failed
        public var sourceError: String?
        public var destinationHasGuest = false
        public var destinationError: String?
        /// Whether memory and devices were equal when the destination began to run, or took over a paused guest.
        public var isEqual = false
        public var statistics = MigrationStatistics()
        public var received = IncomingStatistics()
    }

    public init(
        seed: UInt64, pageCounts: [Int] = [60, 3], diskCount: Int = 1, unitPageCount: Int = 1,
        sharesMemory: Bool = false
    ) throws {
        simulation = Simulation(seed: seed)
        self.pageCounts = pageCounts
        self.unitPageCount = unitPageCount
        self.sharesMemory = sharesMemory
        locks = (0..<diskCount).map { _ in SharedLock(owner: "source") }
        source = try SimulatedMachine(
            name: "source", simulation: simulation, pageCounts: pageCounts, unitPageCount: unitPageCount,
            sharesMemory: sharesMemory)
        destination = try SimulatedMachine(
            name: "destination", simulation: simulation, pageCounts: pageCounts, unitPageCount: unitPageCount,
            sharesMemory: sharesMemory)
        network = SimulatedNetwork(simulation: simulation)
        source.disks = disks("source")
        destination.disks = disks("destination")
        var rule = DowntimeLimitRule()
        rule.limit = .milliseconds(20)
        rule.passLimit = 6
        policy.ending = .downtimeLimit(rule)
        guest = source.boot()
    }

    private func disks(_ side: String) -> [any MigratableDisk] {
        locks.enumerated().map { SimulatedDisk(name: "disk\($0.offset)", side: side, lock: $0.element) }
    }

    /// A fresh destination and an intact network, for another attempt.
    public func renewDestination() throws {
        destination = try SimulatedMachine(
            name: "destination", simulation: simulation, pageCounts: pageCounts, unitPageCount: unitPageCount,
            sharesMemory: sharesMemory)
        destination.disks = disks("destination")
        renewNetwork()
    }

    private func renewNetwork() {
        let old = network
        network = SimulatedNetwork(simulation: simulation)
        network.latency = old.latency
        network.bytesPerSecond = old.bytesPerSecond
        network.bufferByteCount = old.bufferByteCount
        network.maximumChunk = old.maximumChunk
        network.lendsPages = old.lendsPages
    }

    public func cancelSource() { outgoing?.cancel() }
    public func cancelDestination() { incoming?.cancel() }

    /// Lets the guest migrate once.
    ///
    /// - Precondition: the source has the guest.
    public func migrate() -> Attempt {
        guard let guest = guest.take() else { preconditionFailure("seed \(simulation.seed): the source has no guest") }
        let box = Box(guest)
        attemptCount += 1
        let attempt = Box2(Attempt())
        destination.onResume = { [self] in attempt.value.isEqual = source.checksum == destination.checksum }
        destination.origin = source
        let operatorAtWork = Operator(pair: self)
        let outgoing = OutgoingMigration(
            machine: source, connector: network.makeConnector(), options: options, policy: policy, runtime: simulation,
            observer: operatorAtWork)
        let incoming = IncomingMigration(
            machine: destination, listener: network.makeListener(),
            dialect: destinationDialect ?? options.dialect, runtime: simulation, observer: operatorAtWork)
        self.outgoing = outgoing
        self.incoming = incoming
        let destinationThread = simulation.startThread("destination") { [self] in
            runDestination(incoming, attempt)
        }
        let sourceThread = simulation.startThread("source") { [self] in runSource(outgoing, box, attempt) }
        sourceThread.join()
        // Whatever the source came to, the destination of a dead connection ends by itself; one that is still waiting
        // for a connection is told to stop, as its manager would.
        if attempt.value.source != .completed { incoming.cancel() }
        destinationThread.join()
        incoming.waitForFarewell()
        destination.onResume = nil
        attempt.value.statistics = outgoing.statistics
        attempt.value.received = incoming.statistics
        return attempt.value
    }

    // MARK: The operator

    fileprivate func scheduleCut() {
        guard !cuts.isEmpty else { return }
        simulation.after(cuts.removeFirst()) { [network] in network.cut() }
    }

    public func startPostcopy() { outgoing?.startPostcopy() }
    public func pauseSource() { outgoing?.pausePostcopy() }
    public func pauseDestination() { incoming?.pausePostcopy() }

    /// One side is paused: as soon as the other is so too, a new link is made; if it has ended, that is told.
    fileprivate func lookAtPausedSides() {
        guard let outgoing, let incoming else { return }
        let (here, there) = (outgoing.statistics.phase, incoming.statistics.phase)
        switch (here, there) {
        case (.postcopyPaused, .postcopyPaused):
            renewNetwork()
            recoveryCount += 1
            scheduleCut()
            _ = incoming.recover(from: network.makeListener())
            _ = outgoing.resume(over: network.makeConnector())
        case (.postcopyPaused, .completed):
            renewNetwork()
            farewellCount += 1
            scheduleCut()
            _ = incoming.recover(from: network.makeListener())
            _ = outgoing.resume(over: network.makeConnector())
        case (.postcopyPaused, .failed): outgoing.giveUpPostcopy()
        case (.completed, _), (.failed, _), (.uncertain, _), (.cancelled, _): break
        case (.postcopyPaused, _), (_, .postcopyPaused):
            simulation.after(.milliseconds(5)) { [weak self] in self?.lookAtPausedSides() }
        default: break
        }
    }

    /// Connects sides that are paused, after a while.
    private final class Operator: MigrationObserver, @unchecked Sendable {
        // Safe: only the thread whose turn it is touches it.
        private unowned let pair: SimulatedPair
        init(pair: SimulatedPair) { self.pair = pair }

        func outgoingMigration(entered phase: OutgoingPhase) {
            if phase == .postcopyDevice { pair.scheduleCut() }
            if phase == .postcopyPaused { look() }
        }

        func incomingMigration(entered phase: IncomingPhase) { if phase == .postcopyPaused { look() } }

        private func look() {
            let delay = Duration.microseconds(Int.random(in: 100...9000, using: &pair.simulation.random))
            pair.simulation.after(delay) { [weak pair] in pair?.lookAtPausedSides() }
        }
    }

    private func runSource(_ outgoing: OutgoingMigration, _ box: Box, _ attempt: Box2<Attempt>) {
        guard let guest = box.right.take() else { return }
        switch outgoing.run(guest) {
        case .completed: attempt.value.source = .completed
        case .failed(let error, let right):
            attempt.value.source = .failed
            attempt.value.sourceError = "\(error)"
            self.guest = consume right
        case .uncertain(let error, let paused):
            attempt.value.source = .uncertain
            attempt.value.sourceError = "\(error)"
            self.guest = .paused(paused)
        }
    }

    private func runDestination(_ incoming: IncomingMigration, _ attempt: Box2<Attempt>) {
        let outcome = incoming.run(PausedGuest())
        switch consume outcome {
        case .completed(.running):
            attempt.value.destinationHasGuest = true
            if destination.missing?.installedPageCount ?? 0 > 0 {
                attempt.value.isEqual = destination.differenceCount(from: source) == 0
            }
        case .completed(.paused):
            attempt.value.destinationHasGuest = true
            attempt.value.isEqual = source.checksum == destination.checksum
        case .failed(let error, _): attempt.value.destinationError = "\(error)"
        }
    }

    /// What a person does with a source that does not know: look at the destination, and go on here if it has nothing.
    public func continueSourceAfterLook() {
        guard let right = guest.take() else { return }
        switch consume right {
        case .running(let running): guest = .running(running)
        case .paused(let paused): guest = source.resume(paused).takeRight()
        }
    }
}

/// A run right on its way to a thread.
// Safe: handed over by one thread to another that starts afterwards.
private final class Box: @unchecked Sendable {
    var right: GuestRight?
    init(_ right: consuming GuestRight) { self.right = consume right }
}

// Safe: only the thread whose turn it is touches it.
private final class Box2<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}
