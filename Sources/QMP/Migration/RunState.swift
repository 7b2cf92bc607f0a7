/// Whether the guest runs, and if not, why: the `status` of `query-status`.
///
/// All of QEMU's words are here, so that a client can read any answer; `mayBecome` has the changes that may happen.
public enum RunState: String, Sendable, CaseIterable {
    /// Built, never ran (`--paused`), or reset while stopped.
    case prelaunch
    /// Waits for or reads a migration.
    case incomingMigration = "inmigrate"
    case running
    /// Stopped by `stop`.
    case paused
    /// Stopped for the switchover.
    case finishMigration = "finish-migrate"
    /// The source after a completed migration: the guest runs elsewhere.
    case postMigration = "postmigrate"
    /// Powered off by the guest, the monitor kept.
    case shutdown
    /// Stopped by an error of the disk, to be continued.
    case ioError = "io-error"
    /// Stopped by an error of the monitor or the kernel; only a reset helps.
    case internalError = "internal-error"
    case guestPanicked = "guest-panicked"
    case suspended
    case watchdog
    case debug
    case saveVM = "save-vm"
    case restoreVM = "restore-vm"
    case colo

    /// Whether only a reset lets the guest run again.
    public var needsReset: Bool { self == .internalError || self == .shutdown }

    /// Whether the state may change into `next`. No state follows itself.
    public func mayBecome(_ next: RunState) -> Bool {
        switch self {
        case .incomingMigration: [.running, .finishMigration, .postMigration].contains(next) || next.isStopped
        case .running: next != .running && next != .prelaunch && next != .incomingMigration && next != .postMigration
        case .finishMigration: [.running, .paused, .postMigration, .prelaunch].contains(next)
        case .prelaunch: [.running, .finishMigration, .incomingMigration].contains(next)
        case .paused: [.running, .finishMigration, .postMigration, .prelaunch].contains(next)
        case .postMigration: [.running, .finishMigration, .prelaunch].contains(next)
        case .shutdown, .internalError: [.paused, .finishMigration, .prelaunch].contains(next)
        case .ioError, .guestPanicked, .suspended, .watchdog, .debug:
            [.running, .finishMigration, .prelaunch].contains(next)
        case .saveVM: next == .running
        case .restoreVM: [.running, .prelaunch].contains(next)
        case .colo: [.running, .prelaunch, .shutdown, .incomingMigration].contains(next)
        }
    }

    /// The states in which a loaded guest may arrive when it does not run.
    private var isStopped: Bool {
        [.paused, .prelaunch, .shutdown, .ioError, .internalError, .guestPanicked, .suspended, .watchdog].contains(self)
    }
}
