/// How far a migration is: the `status` of `query-migrate` and of the event `MIGRATION`.
public enum MigrationStatus: String, Sendable, CaseIterable {
    case none
    case setup
    case cancelling
    case cancelled
    case active
    case postcopyActive = "postcopy-active"
    case postcopyPaused = "postcopy-paused"
    case postcopyRecoverSetup = "postcopy-recover-setup"
    case postcopyRecover = "postcopy-recover"
    case postcopyDevice = "postcopy-device"
    case completed
    case failed
    case failing
    case colo
    case preSwitchover = "pre-switchover"
    case device
    case waitUnplug = "wait-unplug"

    /// Whether nothing more happens in this migration.
    public var hasEnded: Bool {
        switch self {
        case .none, .cancelled, .completed, .failed: true
        default: false
        }
    }

    /// Whether the two sides are at work, or wait to be told to go on; settings are then fixed.
    public var isRunning: Bool { !hasEnded && self != .colo }
}
