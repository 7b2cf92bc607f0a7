public import QMP
internal import Synchronization

/// The settings that clients change and every migration takes a copy of.
public final class MigrationSettingsStore: Sendable {
    /// What `query-migrate-capabilities` lists; other names are not accepted.
    public let offeredCapabilities: [MigrationCapability]
    /// What may be switched on.
    public let availableCapabilities: Set<MigrationCapability>
    /// What `query-migrate-parameters` lists; other names are unexpected.
    public let offeredParameters: [MigrationParameter]
    private let settings = Mutex(MigrationSettings())

    public init(
        offeredCapabilities: [MigrationCapability] = MigrationCapability.allCases,
        availableCapabilities: Set<MigrationCapability> = Set(MigrationCapability.allCases),
        offeredParameters: [MigrationParameter] = MigrationParameter.allCases
    ) {
        self.offeredCapabilities = offeredCapabilities
        self.availableCapabilities = availableCapabilities
        self.offeredParameters = offeredParameters
    }

    public var current: MigrationSettings { settings.withLock { $0 } }

    /// Changes all of `changes` or none.
    public func setCapabilities(_ changes: [(MigrationCapability, Bool)]) throws(QMPError) {
        let result = settings.withLock { settings -> Result<Void, QMPError> in
            let parameters = settings.parameters
            do throws(QMPError) {
                try settings.capabilities.set(
                    changes, available: availableCapabilities, multifdCompression: parameters.text(.multifdCompression),
                    usesTLS: !parameters.text(.tlsCredentials).isEmpty)
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
    }

    /// Changes all parameters that `object` names, or none; returns what then holds.
    public func setParameters(_ object: QMPObject) throws(QMPError) -> MigrationParameters {
        let result = settings.withLock { settings -> Result<MigrationParameters, QMPError> in
            do throws(QMPError) {
                try settings.parameters.set(object, offered: offeredParameters)
                return .success(settings.parameters)
            } catch { return .failure(error) }
        }
        return try result.get()
    }
}
