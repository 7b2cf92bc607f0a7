/// Where an outgoing migration is.
///
///     setup -> pass 1 -> pass 2 … -> switchover [-> preSwitchover] -> deviceState -> completion -> completed
///       any of them up to deviceState -> rollback -> failed | cancelled
///       completion -> completed | rollback (the destination said no, or the locks were free) | uncertain
///     pass … -> switchover -> postcopyDevice -> postcopyActive -> completion -> completed
///       postcopyActive | completion -> postcopyPaused -> postcopyRecoverSetup -> postcopyRecover -> postcopyActive
///       postcopyRecoverSetup | postcopyRecover -> postcopyPaused
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
    /// Post-copy: the destination is given the devices, and is about to run the guest.
    case postcopyDevice
    /// The destination runs the guest, and fetches what it lacks.
    case postcopyActive
    /// The link was lost; both sides wait to be connected again.
    case postcopyPaused
    /// Connecting again.
    case postcopyRecoverSetup
    /// Agreeing on what is missing.
    case postcopyRecover
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
    /// The guest is about to run, and fetches what it lacks.
    case postcopyActive
    /// The link was lost; the guest runs where it has its pages.
    case postcopyPaused
    /// Waiting for the source again.
    case postcopyRecoverSetup
    /// Telling the source what is missing.
    case postcopyRecover
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

extension OutgoingPhase {
    /// Whether the guest may run at the destination while memory of it is still here.
    public var isPostcopy: Bool {
        switch self {
        case .postcopyDevice, .postcopyActive, .postcopyPaused, .postcopyRecoverSetup, .postcopyRecover: true
        default: false
        }
    }
}

extension IncomingPhase {
    /// Whether the guest may run here while memory of it is still at the source.
    public var isPostcopy: Bool {
        switch self {
        case .postcopyActive, .postcopyPaused, .postcopyRecoverSetup, .postcopyRecover: true
        default: false
        }
    }
}
