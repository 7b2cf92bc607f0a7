internal import GuestMemory
internal import LinuxSystem
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
    private var firstRehearsal: (any MigrationThread)?
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
        tracker = DirtyTracker(machine: migration.machine, excluding: migration.sharedRegions)
        requests = PageRequests(regions: migration.machine.regions, runtime: migration.runtime)
    }

    func run(_ guest: consuming GuestRight) -> OutgoingOutcome {
        let wasRunning = guest.isRunning
        progress.setRequests(requests)
        let ending: PassesEnding
        defer { runtime.keepApart(as: nil) }
        do {
            progress.enter(.setup)
            try setUp()
            ending = try runPasses()
            if options.awaitsSwitchoverAcknowledgement { try wait { $0.hasAcknowledgedSwitchover } }
            try getReady()
            if case .switchover(let reason) = ending { try sendAhead(of: reason) }
        } catch {
            return rollBack(guest, error: error, wasRunning: wasRunning)
        }
        // What follows is short: until the destination has the guest.
        runtime.setUrgency(.urgent)
        defer { runtime.setUrgency(.usual) }
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
        waitForArrival()
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
            progress.add(runtime.now() - start, to: .pause)
            return transition
        }
    }

    // MARK: Setup

    private func setUp() throws {
        // The first time takes several times as long: here nothing waits for it, in `getReady` the end of the passes does.
        firstRehearsal = try? runtime.startThread("rehearsal") { [machine] in _ = try? rehearseSaving(of: machine) }
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
        let shared = try sharedBlocks(over: channel)
        try main.writeStart(machine: machine)
        if (options.hasReturnPath || options.allowsPostcopy) && channel.isBidirectional {
            try startReturnPath(channel)
            try main.writeCommands([.openReturnPath, .ping(PeerGreeting.ping)])
            try waitForGreeting()
            if returnPath?.isApus == true, let description = try machine.describe() {
                try main.writeCommands([.machineDescription(description)])
            }
        }
        if !shared.isEmpty { try main.sendMemory(shared) }
        if options.allowsPostcopy {
            try main.writeCommands([.postcopyAdvise(postcopyAdvice)])
            // For pages that are asked for.
            runtime.prepareThreads(1)
            if options.dialect.hasPreemptChannel { try openUrgentChannel(connector) }
        }
        if options.dialect.channelCount > 0 {
            let sender = MultifdSender(
                control: control, tracker: tracker, dialect: options.dialect, isUncopied: options.sendsUncopied,
                mayLend: returnPath != nil)
            multifd = sender
            try sender.start(connector: connector, uuid: machine.uuid)
        }
        try main.writeBlockList(machine: machine, syncsChannels: multifd != nil) { try multifd?.sync() }
        if returnPath?.isApus == true {
            // What does not fit is found before the first page.
            try main.writeCommands([.ping(1)])
            try wait { $0.hasPong(1) }
        }
        if let delta = main.delta { progress.setDelta(delta) }
        try tracker.start()
        // As QEMU counts: in pass n this is n.
        progress.update { $0.dirtySyncCount = 1 }
    }

    /// The memory that is handed over as it is.
    ///
    /// This side keeps the same memory, so that the guest can go on here with it: the destination does not write to it
    /// before it has its lock, which is given up with those of the disks.
    private func sharedBlocks(over channel: any MigrationChannel) throws -> [MainChannel.SharedBlock] {
        guard options.dialect.isLocal else { return [] }
        guard channel.passesDescriptors else {
            throw MigrationError.localImpossible(
                "Memory is handed over a UNIX socket on one host only, and \(channel.address) is none.")
        }
        let blocks = machine.regions.map(\.block)
        guard !migration.sharedRegions.isEmpty else {
            throw MigrationError.localImpossible("\(MemoryHandOverError.isPrivate(block: blocks.first?.name ?? ""))")
        }
        return try migration.sharedRegions.sorted().map { index in
            let block = blocks[index]
            return MainChannel.SharedBlock(
                memory: LocalMemory(block: block.name, byteCount: UInt64(block.byteCount)), file: try block.share())
        }
    }

    /// Reads what the destination answers on `channel`, from now on.
    func startReturnPath(_ channel: any MigrationChannel) throws {
        let reader = ReturnPathReader(
            channel: channel, control: control, requests: options.allowsPostcopy ? requests : nil)
        returnPathThread = try reader.start()
        returnPath = reader
    }

    /// Waits for something that the destination says; whether it has said it before `limit`.
    @discardableResult
    func wait(until limit: Duration? = nil, for condition: (ReturnPathReader) -> Bool) throws -> Bool {
        guard let returnPath else { return true }
        let hasSaid = try control.wait(until: limit) {
            if condition(returnPath) { return true }
            try checkReturnPath()
            return nil as Bool?
        }
        return hasSaid != nil
    }

    /// Waits until the destination has taken this connection for the main one, before others follow it.
    private func waitForGreeting() throws {
        // A command may take all bytes and have nothing to say: in post-copy the destination has to ask for pages.
        let limit = options.allowsPostcopy ? runtime.now() + options.firstAnswerLimit : nil
        if try wait(until: limit, for: { $0.hasPong(PeerGreeting.ping) || $0.isApus }) { return }
        throw MigrationError.postcopyImpossible(
            "\(migration.connector.address) has taken what was sent and nothing came back in "
                + "\(options.firstAnswerLimit.components.seconds) s; in post-copy the destination asks for pages.")
    }

    /// Does while the guest still runs what it would else stand still for: rehearses, and waits until the destination has
    /// taken in what was sent, of which megabytes may be on their way, and has rehearsed as well.
    private func getReady() throws {
        guard let main else { return }
        firstRehearsal?.join()
        firstRehearsal = nil
        runtime.keepApart(as: .source, over: main.channel)
        if returnPath != nil { try main.writeCommands([.ping(MainChannel.readyPing)]) }
        _ = try? rehearseSaving(of: machine)
        try wait(until: runtime.now() + Self.readyLimit) { $0.hasPong(MainChannel.readyPing) }
    }

    /// A link so slow would not be faster while the guest stands still, but somebody has asked for the switchover.
    private static let readyLimit: Duration = .seconds(5)

    /// - Throws: What the destination said, or that it has ended, if it has.
    func checkReturnPath() throws {
        guard let returnPath else { return }
        if let refusal = returnPath.refusal { throw refusal }
        if let silence = returnPath.silence { throw silence }
    }

    // MARK: End

    /// Ends the threads of this side, whatever they do.
    func endThreads() {
        control.close()
        firstRehearsal?.join()
        firstRehearsal = nil
        multifd?.finish()
        returnPathThread?.join()
        returnPathThread = nil
    }
}
