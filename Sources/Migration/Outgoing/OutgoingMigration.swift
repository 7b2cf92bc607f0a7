internal import GuestMemory
internal import MigrationStream
internal import Synchronization

/// Moves a running guest to another host: pre-copy passes, switchover, hand-over.
///
/// `run` does all of it on the calling thread, which may block, and gives the run right back with what became of it.
/// All other functions may be called by any thread while it runs.
///
/// Who may run the guest: until the last byte has been sent this side owns it, and any failure or a cancel puts
/// everything back and lets it go on. After that only the destination's answer, or its disks' locks being free, do.
public final class OutgoingMigration: Sendable {
    let machine: any MigratableMachine
    let connector: any MigrationConnector
    let options: MigrationOptions
    let runtime: any MigrationRuntime
    let control: OutgoingControl
    let progress: OutgoingProgress
    let policy: Mutex<MigrationPolicy>
    let handOver = HandOverLatch()
    /// Regions whose memory is handed over as it is, instead of being copied.
    let sharedRegions: Set<Int>

    public init(
        machine: any MigratableMachine, connector: any MigrationConnector, options: MigrationOptions = .init(),
        policy: MigrationPolicy = .init(), runtime: any MigrationRuntime = SystemRuntime(),
        observer: (any MigrationObserver)? = nil
    ) {
        precondition((0...255).contains(options.dialect.channelCount), "\(options.dialect.channelCount) channels")
        self.machine = machine
        self.connector = connector
        self.options = options
        self.runtime = runtime
        control = OutgoingControl(
            runtime: runtime, maximumBandwidth: options.maximumBandwidth,
            maximumPostcopyBandwidth: options.maximumPostcopyBandwidth)
        let regions = machine.regions
        sharedRegions = Set(options.dialect.isLocal ? regions.indices.filter { regions[$0].block.isShared } : [])
        progress = OutgoingProgress(
            runtime: runtime, observer: observer, blocks: regions.map(\.block), shared: sharedRegions)
        self.policy = Mutex(policy)
    }

    /// Runs the migration to its end.
    public func run(_ guest: consuming GuestRight) -> OutgoingOutcome {
        let session = OutgoingSession(migration: self)
        return session.run(guest)
    }

    /// Ends the migration; the guest goes on here. Without effect once the last bytes are on their way.
    ///
    /// - Returns: Whether it was in time.
    @discardableResult
    public func cancel() -> Bool {
        guard handOver.cancel() else { return false }
        control.cancel()
        connector.cancel()
        return true
    }

    /// Waits no longer for the destination's answer, when a cancel came too late: see `OutgoingOutcome.uncertain`.
    public func abandonAnswer() {
        control.fail(
            MigrationError.handOverUnknown(reason: "The migration was cancelled while it waited for the answer."))
    }

    /// Goes on after `OutgoingPhase.preSwitchover`.
    public func continueSwitchover() { control.continueSwitchover() }

    /// Changes the bandwidth limit: bytes per second, 0 for none.
    public func setMaximumBandwidth(_ bytesPerSecond: Int) { control.limiter.setLimit(bytesPerSecond) }

    /// Changes the limit of what is pushed in post-copy: bytes per second, 0 for none.
    public func setMaximumPostcopyBandwidth(_ bytesPerSecond: Int) {
        control.postcopyLimiter.setLimit(bytesPerSecond)
    }

    /// Lets the guest run at the destination as soon as that can be done, whatever the policy says.
    public func startPostcopy() { control.startPostcopy() }

    /// Cuts the link of a post-copy: it is paused then. Without effect in any other phase.
    public func pausePostcopy() { if statistics.phase.isPostcopy { control.breakLink() } }

    /// Goes on with a paused post-copy over a new link.
    ///
    /// - Returns: False if it does not wait for one.
    public func resume(over connector: any MigrationConnector) -> Bool {
        statistics.phase == .postcopyPaused && control.resume(over: connector)
    }

    /// Gives up a paused post-copy: `run` returns `uncertain`, and what the destination lacks is lost with this side.
    public func giveUpPostcopy() { control.giveUp() }

    /// Changes limits of the policy; asked again after the present pass.
    public func updatePolicy(_ body: (inout MigrationPolicy) -> Void) { policy.withLock { body(&$0) } }

    /// What was done so far.
    public var statistics: MigrationStatistics {
        var statistics = progress.snapshot(counters: control.counters.values)
        let requests = progress.requestCounts
        statistics.postcopy.requestCount = requests.all
        statistics.postcopy.joinedRequestCount = requests.joined
        statistics.missedZeroCopyCount = control.counters.missedZeroCopyCount
        statistics.postcopy.pushedPageCount = control.counters.pushedPageCount
        statistics.postcopy.requestedPageCount = control.counters.requestedPageCount
        statistics.postcopy.firstPageCount = control.counters.firstPageCount
        return statistics
    }
}

/// What became of an outgoing migration, and of the right to run the guest.
public enum OutgoingOutcome: ~Copyable {
    /// The destination has the guest. Here it stands still and must not be resumed, unless a person knows better.
    case completed(PausedGuest)
    /// It did not work; the guest is as it was before, and another attempt can be made.
    case failed(any Error, GuestRight)
    /// Everything was sent and no answer came: the destination may run the guest or not. A person must decide.
    case uncertain(any Error, PausedGuest)
}
