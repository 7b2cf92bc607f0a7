/// Where an outgoing migration is.
///
///     setup -> pass 1 -> pass 2 … -> switchover [-> preSwitchover] -> deviceState -> completion -> completed
///       any of them up to deviceState -> rollback -> failed | cancelled
///       completion -> completed | rollback (the destination said no, or the locks were free) | uncertain
public enum OutgoingPhase: Equatable, Sendable {
    /// Connecting, agreeing, starting the dirty log.
    case setup
    /// Sending what was dirty; numbered from 1.
    case pass(Int)
    /// The guest is being stopped.
    case switchover
    /// The guest is stopped and the migration waits to be continued.
    case preSwitchover
    /// The last pages and the devices are being sent.
    case deviceState
    /// All was sent; the destination loads.
    case completion
    /// Everything is being put back.
    case rollback
    case completed
    case failed
    case cancelled
    /// Nobody here knows whether the destination runs the guest.
    case uncertain
}

/// Where an incoming migration is.
public enum IncomingPhase: Equatable, Sendable {
    /// Waiting for the source.
    case setup
    /// Memory arrives.
    case active
    /// Device state arrives, or is loaded.
    case deviceState
    /// Locks are taken and the guest starts.
    case completion
    case completed
    case failed
}

/// Told what a migration does, on the thread that does it. Must not block for long.
public protocol MigrationObserver: AnyObject, Sendable {
    func outgoingMigration(entered phase: OutgoingPhase)
    func incomingMigration(entered phase: IncomingPhase)
}
