internal import QMP

extension CommandRegistry {
    /// `migrate-set-capabilities`, `migrate-set-parameters` and their queries.
    mutating func registerMigrationSettings(_ services: MonitorServices) {
        let settings = services.settings
        let migration = services.migration
        register("query-migrate-capabilities") {
            settings.current.capabilities.value(of: settings.offeredCapabilities)
        }
        register("query-migrate-parameters") { settings.current.parameters.value(of: settings.offeredParameters) }
        let offered = settings.offeredCapabilities
        register("migrate-set-capabilities") { (arguments: inout Arguments) throws(QMPError) in
            var changes: [(MigrationCapability, Bool)] = []
            for var entry in try arguments.objects("capabilities") {
                let capability = try entry.word("capability", as: MigrationCapability.self)
                guard offered.contains(capability) else {
                    throw QMPError("Parameter 'capability' does not accept value '\(capability.rawValue)'")
                }
                changes.append((capability, try entry.bool("state")))
                try entry.finish()
            }
            return changes
        } run: { changes, _ in
            if await migration.information().status?.isRunning == true {
                throw QMPError("There's a migration process in progress")
            }
            try settings.setCapabilities(changes)
            return .nothing
        }
        register("migrate-set-parameters") { (arguments: inout Arguments) throws(QMPError) in
            arguments.takeAll()
        } run: { object, _ in
            await migration.parametersChanged(try settings.setParameters(object))
            return .nothing
        }
    }
}
