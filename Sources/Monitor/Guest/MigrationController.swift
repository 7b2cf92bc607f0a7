internal import GuestMemory
internal import LinuxSystem
public import Migration
public import QMP
internal import Synchronization
public import Transports

/// Runs migrations of one machine: the engine on a thread of its own, QMP's words on one side and the engine's on the
/// other.
public actor MigrationController: MigrationControl {
    private enum Run {
        case outgoing(OutgoingMigration)
        case incoming(IncomingMigration, addresses: [QMPValue])
    }

    private let machine: any MigratableMachine
    private let driver: StateDriver
    private let descriptors: DescriptorStore
    private let events: any EventSink
    private let relay: PhaseRelay
    private var run: Run?
    private var status: MigrationStatus?
    private var errorDescription: String?
    private var handOverIsUnknown = false
    private var sendsEvents = false
    private var isHybrid = false
    private var showsBlocktime = false
    /// Called when an incoming migration failed and nothing is left to wait for.
    private let incomingFailed: @Sendable (String) -> Void

    public init(
        machine: any MigratableMachine, driver: StateDriver, descriptors: DescriptorStore, events: any EventSink,
        incomingFailed: @escaping @Sendable (String) -> Void
    ) {
        self.machine = machine
        self.driver = driver
        self.descriptors = descriptors
        self.events = events
        self.incomingFailed = incomingFailed
        relay = PhaseRelay()
    }

    // MARK: Source

    public func migrate(
        to address: MigrationAddress, resumes: Bool, _ settings: MigrationSettings
    ) async throws {
        if settings.capabilities.has(.dirtyLimit) && machine.dirtiedPageCounts().isEmpty {
            throw QMPError("dirty-limit requires dirty rings: start this monitor with --dirty-ring")
        }
        if settings.capabilities.has(.local) { try checkLocal(address) }
        if settings.capabilities.has(.zeroCopySend) { try checkZeroCopy(address) }
        let connector = try Transports.connector(for: address, descriptor: descriptorLookup)
        if resumes {
            guard case .outgoing(let migration) = run, migration.resume(over: connector) else {
                throw QMPError("Cannot resume if there is no paused migration")
            }
            return
        }
        let observed = StateDrivenMachine(machine, driver: driver, isDestination: false)
        let migration = OutgoingMigration(
            machine: observed, connector: connector, options: MigrationOptions(settings),
            policy: MigrationPolicy(settings), observer: relay)
        begin(.outgoing(migration), settings)
        let isRunning = driver.state == .running
        try start("migration") { [self] in
            let right: GuestRight = isRunning ? .running(RunningGuest()) : .paused(PausedGuest())
            switch migration.run(right) {
            case .completed: finish { await $0.sourceCompleted(wasRunning: isRunning) }
            case .failed(let error, _):
                let text = "\(error)"
                finish { $0.sourceFailed(text) }
            case .uncertain(let error, _):
                let text = "\(error)"
                finish { await $0.sourceIsUncertain(text) }
            }
        }
    }

    private func sourceCompleted(wasRunning: Bool) async {
        // A guest that stood still was never stopped by the engine: it is handed over from where it is.
        try? await onThread(named: "state") { [driver] in
            if !wasRunning { _ = try? driver.beginSwitchover() }
            try driver.completeMigration()
        }
        enter(.completed)
    }

    private func sourceFailed(_ text: String) {
        errorDescription = text
        enter(status == .cancelling ? .cancelled : .failed)
    }

    /// The guest stays as after a completed migration; `cont` lets it go on here, if somebody knows that it may.
    private func sourceIsUncertain(_ text: String) async {
        errorDescription = text
        handOverIsUnknown = true
        try? await onThread(named: "state") { [driver] in try driver.completeMigration() }
        enter(.failed)
    }

    public func cancel() async throws {
        guard case .outgoing(let migration) = run, let status, status.isRunning else { return }
        if migration.statistics.phase.isPostcopy {
            throw QMPError("Postcopy in progress, cannot cancel")
        }
        enter(.cancelling)
        if migration.cancel() { return }
        // Everything was sent: the destination's answer decides. One that never comes is waited for no longer than this.
        Task {
            try? await Task.sleep(for: Self.answerLimit)
            if case .outgoing(let present) = self.run, present === migration, self.status?.isRunning == true {
                migration.abandonAnswer()
            }
        }
    }

    private static let answerLimit: Duration = .seconds(10)

    public func proceed() async throws {
        if case .outgoing(let migration) = run { migration.continueSwitchover() }
    }

    public func parametersChanged(_ parameters: MigrationParameters) async {
        guard case .outgoing(let migration) = run else { return }
        migration.setMaximumBandwidth(Int(clamping: parameters.maximumBandwidth ?? 0))
        migration.setMaximumPostcopyBandwidth(Int(clamping: parameters.maximumPostcopyBandwidth ?? 0))
        let isHybrid = isHybrid
        migration.updatePolicy {
            // A hybrid rule remembers passes: its limits hold for the next migration.
            if isHybrid { return }
            $0.update(ending: .init(parameters, isHybrid: false), throttling: $0.throttling, timeout: $0.timeout)
        }
    }

    public func startPostcopy() async throws {
        guard case .outgoing(let migration) = run, status?.isRunning == true else {
            throw QMPError("Postcopy must be started after migration has been started")
        }
        migration.startPostcopy()
    }

    public func pausePostcopy() async throws {
        switch run {
        case .outgoing(let migration): migration.pausePostcopy()
        case .incoming(let migration, _): migration.pausePostcopy()
        case nil: break
        }
    }

    public func recover(from address: MigrationAddress) async throws {
        guard case .incoming(let migration, _) = run else {
            throw QMPError("Migrate recover can only be run when postcopy is paused.")
        }
        let listener = try Transports.listener(for: address, descriptor: descriptorLookup)
        guard migration.recover(from: listener) else {
            listener.cancel()
            throw QMPError("Migrate recover can only be run when postcopy is paused.")
        }
        run = .incoming(migration, addresses: listener.boundAddresses)
    }

    // MARK: Destination

    public func acceptIncoming(
        from address: MigrationAddress, exitsOnError: Bool, _ settings: MigrationSettings
    ) async throws {
        if settings.capabilities.has(.local) { try checkLocal(address) }
        let observed = StateDrivenMachine(machine, driver: driver, isDestination: true)
        try await onThread(named: "rehearsal") { rehearseLoading(into: observed) }
        let listener = try Transports.listener(for: address, descriptor: descriptorLookup)
        let migration = IncomingMigration(
            machine: observed, listener: listener, dialect: StreamDialect(settings), observer: relay)
        begin(.incoming(migration, addresses: listener.boundAddresses), settings)
        try start("incoming") { [self] in
            switch migration.run(PausedGuest()) {
            case .completed(let right):
                let isRunning = right.isRunning
                finish { await $0.destinationCompleted(isRunning: isRunning) }
            case .failed(let error, _):
                let text = "\(error)"
                finish { $0.destinationFailed(text, exits: exitsOnError) }
            }
        }
    }

    public func waitForArrival() async {
        let limit = ContinuousClock.now + Self.arrivalLimit
        while case .incoming = run, status == .active, driver.state != .incomingMigration,
            ContinuousClock.now < limit
        {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    /// What is left when the guest runs is to tell the source and to close connections; one that hangs is refused.
    private static let arrivalLimit: Duration = .seconds(5)

    private func destinationCompleted(isRunning: Bool) async {
        if !isRunning { try? await onThread(named: "state") { [driver] in try driver.arrive(from: .paused) } }
        enter(.completed)
    }

    private func destinationFailed(_ text: String, exits: Bool) {
        errorDescription = text
        enter(.failed)
        if exits { incomingFailed(text) }
    }

    // MARK: Both

    private func checkZeroCopy(_ address: MigrationAddress) throws(QMPError) {
        switch address {
        case .tcp, .descriptor: break
        default: throw QMPError("zero-copy-send needs TCP sockets (tcp: or fd:), not \(address)")
        }
    }

    private func checkLocal(_ address: MigrationAddress) throws(QMPError) {
        switch address {
        case .unix, .descriptor: break
        default: throw QMPError("local needs a UNIX socket (unix: or fd:), not \(address)")
        }
        guard machine.regions.contains(where: \.block.isShared) else {
            throw QMPError(
                "local needs memory that can be handed over: start this monitor with --memory SIZE,shared=on")
        }
    }

    private func begin(_ run: Run, _ settings: MigrationSettings) {
        self.run = run
        errorDescription = nil
        handOverIsUnknown = false
        sendsEvents = settings.capabilities.has(.events)
        isHybrid = settings.capabilities.has(.hybrid)
        showsBlocktime = settings.capabilities.has(.postcopyBlocktime)
        relay.onPhase { [weak self] status in Task { await self?.enterWhileRunning(status) } }
        let sendPass: @Sendable (Int) -> Void = { [events] pass in
            events.send(event: "MIGRATION_PASS", data: ["pass": QMPValue(pass)])
        }
        relay.onPass(sendsEvents ? sendPass : nil)
        enter(.setup)
    }

    /// Runs the engine on a thread.
    private func start(_ name: String, _ body: @escaping @Sendable () -> Void) throws {
        do { _ = try BlockingThread(name: name, body: body) } catch {
            errorDescription = "\(error)"
            enter(.failed)
            throw error
        }
    }

    private nonisolated func finish(_ body: @escaping @Sendable (isolated MigrationController) async -> Void) {
        Task { await body(self) }
    }

    /// A phase reported by the engine's thread; one that comes after the end means nothing any more.
    private func enterWhileRunning(_ next: MigrationStatus) {
        guard let status, status.isRunning, status != .cancelling, !next.hasEnded else { return }
        enter(next)
    }

    private func enter(_ next: MigrationStatus) {
        guard next != status || next == .setup else { return }
        status = next
        if sendsEvents { events.send(event: "MIGRATION", data: ["status": .string(next.rawValue)]) }
    }

    private var descriptorLookup: Transports.DescriptorLookup {
        { [descriptors] name in
            if let number = Int32(name) { return try OwnedDescriptor(duplicating: number).release() }
            return try descriptors.take(named: name).release()
        }
    }

    public func information() async -> MigrationInfo {
        var info = MigrationInfo(status: status)
        info.errorDescription = errorDescription
        info.handOverIsUnknown = handOverIsUnknown
        switch run {
        case .outgoing(let migration)? where status != .cancelled: info.fill(from: migration.statistics)
        case .incoming(let migration, let addresses)?:
            if status?.isRunning == true { info.socketAddresses = addresses }
            info.fill(from: migration.statistics, showsBlocktime: showsBlocktime)
        default: break
        }
        return info
    }
}

/// Turns the engine's phases into QMP's statuses.
private final class PhaseRelay: MigrationObserver {
    private let handler = Mutex<(@Sendable (MigrationStatus) -> Void)?>(nil)
    private let passHandler = Mutex<(@Sendable (Int) -> Void)?>(nil)

    func onPhase(_ handler: @escaping @Sendable (MigrationStatus) -> Void) { self.handler.withLock { $0 = handler } }

    /// Sets what hears of each pass as it begins, on the engine's thread.
    func onPass(_ handler: (@Sendable (Int) -> Void)?) { passHandler.withLock { $0 = handler } }

    func outgoingMigration(entered phase: OutgoingPhase) {
        switch phase {
        case .pass(let number):
            report(.active)
            passHandler.withLock { $0 }?(number)
        case .preSwitchover: report(.preSwitchover)
        case .deviceState: report(.device)
        case .postcopyDevice: report(.postcopyDevice)
        case .postcopyActive: report(.postcopyActive)
        case .postcopyPaused: report(.postcopyPaused)
        case .postcopyRecoverSetup: report(.postcopyRecoverSetup)
        case .postcopyRecover: report(.postcopyRecover)
        case .setup, .switchover, .completion, .rollback, .completed, .failed, .cancelled, .uncertain: break
        }
    }

    func incomingMigration(entered phase: IncomingPhase) {
        switch phase {
        case .active: report(.active)
        case .postcopyActive: report(.postcopyActive)
        case .postcopyPaused: report(.postcopyPaused)
        case .postcopyRecoverSetup: report(.postcopyRecoverSetup)
        case .postcopyRecover: report(.postcopyRecover)
        case .setup, .deviceState, .completion, .completed, .failed: break
        }
    }

    private func report(_ status: MigrationStatus) { handler.withLock { $0 }?(status) }
}
