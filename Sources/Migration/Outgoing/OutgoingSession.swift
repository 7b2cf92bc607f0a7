internal import GuestMemory
internal import MigrationStream

/// One run of an outgoing migration: what its main thread holds while it goes through the phases.
final class OutgoingSession {
    let migration: OutgoingMigration
    let machine: any MigratableMachine
    let options: MigrationOptions
    let runtime: any MigrationRuntime
    let control: OutgoingControl
    let progress: OutgoingProgress
    let tracker: DirtyTracker
    var main: MainChannel?
    var multifd: MultifdSender?
    var returnPath: ReturnPathReader?
    private var returnPathThread: (any MigrationThread)?
    /// Pages that the destination asks for.
    let requests: PageRequests
    /// The channel for these, if they have one.
    var urgentChannel: (any MigrationChannel)?
    /// What the guest wrote just before it stopped, of each region.
    var recentlyWritten: [DirtyBitmap] = []
    /// Whether the destination has said that it has all it needs to run the guest.
    var isConfirmed = false
    /// Disks whose locks were given up.
    var releasedDiskCount = 0
    /// From here on the destination may have everything: the first byte of the end of the stream is being sent.
    var hasSentAll = false

    init(migration: OutgoingMigration) {
        self.migration = migration
        machine = migration.machine
        options = migration.options
        runtime = migration.runtime
        control = migration.control
        progress = migration.progress
        tracker = DirtyTracker(machine: migration.machine)
        requests = PageRequests(regions: migration.machine.regions, runtime: migration.runtime)
    }

    func run(_ guest: consuming GuestRight) -> OutgoingOutcome {
        let wasRunning = guest.isRunning
        progress.setRequests(requests)
        let ending: PassesEnding
        do {
            progress.enter(.setup)
            try setUp()
            ending = try runPasses()
        } catch {
            return rollBack(guest, error: error, wasRunning: wasRunning)
        }
        if ending == .postcopy { return runPostcopy(guest, wasRunning: wasRunning) }
        progress.enter(.switchover)
        progress.beginDowntime(counters: control.counters.values)
        let transition = pause(guest)
        if let error = transition.error {
            return rollBack(transition.right, error: error, wasRunning: wasRunning)
        }
        do {
            try switchOver(wasRunning: wasRunning)
            try complete()
        } catch {
            return rollBack(transition.right, error: error, wasRunning: wasRunning)
        }
        progress.endDowntime()
        endThreads()
        tracker.stop()
        machine.setThrottle(.none)
        progress.enter(.completed)
        let right = transition.right
        switch consume right {
        case .paused(let paused): return .completed(paused)
        case .running: preconditionFailure("the guest runs after its hand-over")
        }
    }

    /// Pauses the guest; a guest that was paused before stays so.
    func pause(_ guest: consuming GuestRight) -> GuestTransition {
        switch consume guest {
        case .paused(let paused): return GuestTransition(.paused(paused))
        case .running(let running):
            let start = runtime.now()
            let transition = machine.pause(running)
            progress.add(runtime.now() - start, to: \.pause)
            return transition
        }
    }

    // MARK: Setup

    private func setUp() throws {
        let connector = migration.connector
        let channel: any MigrationChannel
        do {
            channel = try connector.open()
        } catch {
            throw control.isCancelled ? MigrationError.cancelled : MigrationError.channel(error)
        }
        try control.add(channel)
        let main = MainChannel(channel: channel, control: control, options: options)
        self.main = main
        if options.allowsPostcopy { try checkPostcopy(channel) }
        try main.writeStart(machine: machine)
        if (options.hasReturnPath || options.allowsPostcopy) && channel.isBidirectional {
            try startReturnPath(channel)
            try main.writeCommands([.openReturnPath, .ping(1)])
            // The destination has taken this connection for the main one before others follow it.
            try waitForPong(1)
        }
        if options.allowsPostcopy {
            try main.writeCommands([.postcopyAdvise(postcopyAdvice)])
            if options.dialect.hasPreemptChannel { try openUrgentChannel(connector) }
        }
        if options.dialect.channelCount > 0 {
            let sender = MultifdSender(control: control, tracker: tracker, dialect: options.dialect)
            multifd = sender
            try sender.start(connector: connector, uuid: machine.uuid)
        }
        try main.writeBlockList(machine: machine, syncsChannels: multifd != nil) { try multifd?.sync() }
        if let delta = main.delta { progress.setDelta(delta) }
        try tracker.start()
        // As QEMU counts: in pass n this is n.
        progress.update { $0.dirtySyncCount = 1 }
    }

    /// Reads what the destination answers on `channel`, from now on.
    func startReturnPath(_ channel: any MigrationChannel) throws {
        let reader = ReturnPathReader(
            channel: channel, control: control, requests: options.allowsPostcopy ? requests : nil)
        returnPathThread = try reader.start()
        returnPath = reader
    }

    private func waitForPong(_ value: UInt32) throws {
        // A command may take all bytes and have nothing to say: in post-copy the destination has to ask for pages.
        let limit = options.allowsPostcopy ? runtime.now() + options.firstAnswerLimit : nil
        let hasAnswered = try control.wait(until: limit) {
            if returnPath?.hasPong(value) == true { return true }
            try checkReturnPath()
            return nil as Bool?
        }
        if hasAnswered == nil {
            throw MigrationError.postcopyImpossible(
                "\(migration.connector.address) has taken what was sent and nothing came back in "
                    + "\(options.firstAnswerLimit.components.seconds) s; in post-copy the destination asks for pages.")
        }
    }

    /// - Throws: What the destination said, or that it has ended, if it has.
    func checkReturnPath() throws {
        guard let returnPath else { return }
        if let code = returnPath.shutCode, code != 0 { throw MigrationError.refusedByDestination(code: code) }
        if let end = returnPath.end, returnPath.shutCode == nil { throw end }
    }

    // MARK: End

    /// Ends the threads of this side, whatever they do.
    func endThreads() {
        control.close()
        multifd?.finish()
        returnPathThread?.join()
        returnPathThread = nil
    }
}
