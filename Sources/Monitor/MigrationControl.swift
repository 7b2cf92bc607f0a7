public import QMP
public import Transports

/// What the monitor needs of the migration engine.
///
/// Calls may come while a migration runs and must then return soon; those marked "beside" come beside another call.
public protocol MigrationControl: Sendable {
    /// The answer to `query-migrate`. Beside.
    func information() async -> MigrationInfo
    /// Starts to move the guest away. Returns as soon as the address is known to be usable; what happens then is
    /// reported by `information` and events. With `resumes`, goes on with a paused postcopy.
    func migrate(to address: MigrationAddress, resumes: Bool, _ settings: MigrationSettings) async throws
    /// Returns when nothing is left of the arrival of a guest that runs already, or has come paused; at once if none
    /// is arriving. Whoever has seen RESUME may move the guest on, though its stream is still being closed. Beside.
    func waitForArrival() async
    /// Starts to wait for a guest. Only once, and only when the monitor was started to wait (`--incoming defer`).
    func acceptIncoming(
        from address: MigrationAddress, exitsOnError: Bool, _ settings: MigrationSettings
    ) async throws
    /// Gives up the migration that runs, if it can still be given up. Returns when that has begun.
    func cancel() async throws
    /// Goes on after `pause-before-switchover`.
    func proceed() async throws
    /// Switches from precopy to postcopy.
    func startPostcopy() async throws
    /// Cuts the link of a running postcopy. Beside.
    func pausePostcopy() async throws
    /// Waits at `address` for the source of a paused postcopy. Beside.
    func recover(from address: MigrationAddress) async throws
    /// The parameters were changed, perhaps during a migration.
    func parametersChanged(_ parameters: MigrationParameters) async
}

/// What was chosen for the next migration.
public struct MigrationSettings: Equatable, Sendable {
    public var capabilities = MigrationCapabilities()
    public var parameters = MigrationParameters()

    public init() {}
}
