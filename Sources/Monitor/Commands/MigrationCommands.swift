internal import QMP
internal import Synchronization
internal import Transports

extension CommandRegistry {
    /// `migrate` and what steers a migration.
    mutating func registerMigration(_ services: MonitorServices) {
        let migration = services.migration
        register("query-migrate") { await migration.information().value }
        register("migrate_cancel") {
            try await migration.cancel()
            return .nothing
        }
        register("migrate-start-postcopy") {
            guard services.settings.current.capabilities.has(.postcopyRAM) else {
                throw QMPError("Enable postcopy with migrate_set_capability before the start of migration")
            }
            guard let status = await migration.information().status, status != .none else {
                throw QMPError("Postcopy must be started after migration has been started")
            }
            try await migration.startPostcopy()
            return .nothing
        }
        register("migrate-continue") { (arguments: inout Arguments) throws(QMPError) in
            try arguments.word("state", as: MigrationStatus.self)
        } run: { state, _ in
            let current = await migration.information().status ?? .none
            guard current == state, state == .preSwitchover else {
                throw QMPError("Migration not in expected state: \(current.rawValue)")
            }
            try await migration.proceed()
            return .nothing
        }
        register("migrate-pause", isOutOfBand: true) {
            let status = await migration.information().status
            guard [.postcopyActive, .postcopyRecoverSetup, .postcopyRecover].contains(status) else {
                throw QMPError("migrate-pause is currently only supported during postcopy-active state")
            }
            try await migration.pausePostcopy()
            return .nothing
        }
        register("migrate-recover", isOutOfBand: true) { (arguments: inout Arguments) throws(QMPError) in
            try MigrationAddress(taking: &arguments)
        } run: { address, _ in
            // A post-copy that is complete here may have a source that was cut off before it heard of that.
            let information = await migration.information()
            guard
                information.status == .postcopyPaused
                    || information.status == .completed && information.postcopy != nil
            else { throw QMPError("Migrate recover can only be run when postcopy is paused.") }
            try await migration.recover(from: address)
            return .nothing
        }
        registerStart(services)
        registerIncoming(services)
    }

    private mutating func registerStart(_ services: MonitorServices) {
        let migration = services.migration
        register("migrate") { (arguments: inout Arguments) throws(QMPError) in
            let address = try MigrationAddress(taking: &arguments)
            for name in ["blk", "inc"] where try arguments.optionalBool(name) == true {
                throw QMPError("Parameter '\(name)' is not available in this monitor")
            }
            _ = try arguments.optionalBool("detach")
            return (address, try arguments.optionalBool("resume") ?? false)
        } run: { input, _ in
            let (address, resumes) = input
            await migration.waitForArrival()
            let status = await migration.information().status ?? .none
            if resumes {
                guard status == .postcopyPaused else {
                    throw QMPError("Cannot resume if there is no paused migration")
                }
            } else {
                if status.isRunning { throw QMPError("There's a migration process in progress") }
                switch services.driver.state {
                case .incomingMigration: throw QMPError("Guest is waiting for an incoming migration")
                case .postMigration:
                    throw QMPError("Can't migrate the vm that was paused due to previous migration")
                default: break
                }
            }
            try await migration.migrate(to: address, resumes: resumes, services.settings.current)
            return .nothing
        }
    }

    private mutating func registerIncoming(_ services: MonitorServices) {
        let migration = services.migration
        let hasStarted = SharedFlag(services.hasStartedIncoming)
        register("migrate-incoming") { (arguments: inout Arguments) throws(QMPError) in
            let address = try MigrationAddress(taking: &arguments)
            return (address, try arguments.optionalBool("exit-on-error") ?? true)
        } run: { input, _ in
            guard hasStarted.set() else { throw QMPError("The incoming migration has already been started") }
            do {
                guard services.driver.state == .incomingMigration else {
                    throw QMPError("'-incoming' was not specified on the command line")
                }
                try await migration.acceptIncoming(from: input.0, exitsOnError: input.1, services.settings.current)
            } catch {
                // An address that could not be used does not use up the one attempt.
                hasStarted.clear()
                throw error
            }
            return .nothing
        }
    }
}

/// Set once.
private final class SharedFlag: Sendable {
    private let isSet: Mutex<Bool>

    init(_ isSet: Bool) { self.isSet = Mutex(isSet) }

    /// Whether it was not set before.
    func set() -> Bool {
        isSet.withLock { isSet in
            defer { isSet = true }
            return !isSet
        }
    }

    func clear() { isSet.withLock { $0 = false } }
}
