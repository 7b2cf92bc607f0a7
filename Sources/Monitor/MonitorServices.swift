public import QMP

/// What the commands of a monitor work on.
public struct MonitorServices: Sendable {
    /// Who this is, for `query-name`, `query-uuid`, `query-version`.
    public struct Identity: Sendable {
        /// Given with `--name`.
        public var name: String?
        /// 16 bytes as text with dashes.
        public var uuid: String
        public var version: Greeting.Version
        public var kvmIsPresent: Bool
        public var kvmIsUsed: Bool

        public init(
            name: String? = nil, uuid: String = "00000000-0000-0000-0000-000000000000", version: Greeting.Version,
            kvmIsPresent: Bool = true, kvmIsUsed: Bool = true
        ) {
            self.name = name
            self.uuid = uuid
            self.version = version
            self.kvmIsPresent = kvmIsPresent
            self.kvmIsUsed = kvmIsUsed
        }
    }

    public var identity: Identity
    public var driver: StateDriver
    public var machine: any MachineControl
    public var migration: any MigrationControl
    public var descriptors: DescriptorStore
    public var settings: MigrationSettingsStore
    /// Whether the command line named an address to wait at, so that `migrate-incoming` comes too late.
    public var hasStartedIncoming = false
    /// Called by `quit` behind the event; lets the main program end. The reply is sent while the server closes.
    public var quit: @Sendable () -> Void

    public init(
        identity: Identity, driver: StateDriver, machine: any MachineControl, migration: any MigrationControl,
        descriptors: DescriptorStore = DescriptorStore(), settings: MigrationSettingsStore = MigrationSettingsStore(),
        quit: @escaping @Sendable () -> Void
    ) {
        self.identity = identity
        self.driver = driver
        self.machine = machine
        self.migration = migration
        self.descriptors = descriptors
        self.settings = settings
        self.quit = quit
    }
}

extension CommandRegistry {
    /// All commands of a monitor with these services.
    public init(_ services: MonitorServices) {
        self.init()
        registerLifecycle(services)
        registerQueries(services)
        registerBalloon(services.machine)
        registerDescriptors(services.descriptors)
        registerMigration(services)
        registerMigrationSettings(services)
        // Taken while negotiating, so it is never executed from here, but it is a command.
        register("qmp_capabilities") { .nothing }
        register("query-commands") { .nothing }
        let names = names
        register("query-commands") { .array(names.map { ["name": .string($0)] }) }
    }
}
