internal import Devices
public import LinuxSystem
public import Machine
internal import Migration
public import QMP
internal import Synchronization
internal import Transports

/// A machine with its monitor: what `apus run` starts and waits for.
public final class VirtualMachine: Sendable {
    /// What is not part of the machine itself.
    public struct Options: Sendable {
        public var name: String?
        public var uuid: String?
        /// Paths of UNIX sockets to serve QMP on.
        public var qmpPaths: [String] = []
        /// The guest waits for `cont`.
        public var startsPaused = false
        /// Where to wait for a guest; "defer" waits for `migrate-incoming`.
        public var incoming: String?
        /// A guest that resets itself ends the monitor instead.
        public var endsOnReset = false
        /// What `query-block` tells, in the order of the configuration; asked each time.
        public var disks: @Sendable () -> [BlockDeviceInformation] = { [] }

        public init() {}
    }

    /// Why it is over.
    public enum End: Sendable, Equatable {
        /// The guest turned itself off, or somebody told the monitor to quit.
        case quit
        /// What made it impossible to go on.
        case failed(String)
    }

    public let machine: Machine
    public let driver: StateDriver
    private let controller: MachineController
    private let migration: MigrationController
    private let server: QMPServer?
    private let options: Options
    private let ends: AsyncStream<End>
    private let endContinuation: AsyncStream<End>.Continuation
    private let events: EventRelay

    /// - Parameter version: what `query-version` and the greeting tell.
    public init(_ machine: Machine, _ options: Options, version: Greeting.Version) throws {
        self.machine = machine
        self.options = options
        (ends, endContinuation) = AsyncStream.makeStream()
        let end = endContinuation
        let events = EventRelay()
        self.events = events
        controller = MachineController(machine, disks: options.disks)
        driver = StateDriver(
            machine: controller, events: events,
            initial: options.incoming == nil ? .prelaunch : .incomingMigration, startsOnArrival: !options.startsPaused)
        let descriptors = DescriptorStore()
        migration = MigrationController(
            machine: machine, driver: driver, descriptors: descriptors, events: events
        ) { text in end.yield(.failed(text)) }
        var identity = MonitorServices.Identity(name: options.name, version: version)
        if let uuid = options.uuid { identity.uuid = uuid }
        var services = MonitorServices(
            identity: identity, driver: driver, machine: controller, migration: migration, descriptors: descriptors,
            settings: MigrationSettingsStore(availableCapabilities: MigrationCapability.ofApus)
        ) { end.yield(.quit) }
        services.hasStartedIncoming = options.incoming != nil && options.incoming != "defer"
        if options.qmpPaths.isEmpty {
            server = nil
        } else {
            let server = try QMPServer(greeting: Greeting(version: version), registry: CommandRegistry(services))
            for path in options.qmpPaths { try server.listen(at: path) }
            events.connect(to: server)
            self.server = server
        }
        controller.onNotice { [self] notice in react(to: notice) }
    }

    /// Starts the guest, or waits for it, and returns when it is over.
    public func run() async -> End {
        do {
            if let incoming = options.incoming {
                if incoming != "defer" {
                    try await migration.acceptIncoming(
                        from: try MigrationAddress(parsing: incoming), exitsOnError: true, MigrationSettings())
                }
            } else if !options.startsPaused {
                try await driver.cont()
            }
        } catch { endContinuation.yield(.failed("\(error)")) }
        var result = End.quit
        for await end in ends {
            result = end
            break
        }
        server?.close()
        machine.end()
        return result
    }

    /// Ends as by `quit`: any thread.
    public func quit() {
        Task {
            try? await driver.shutDown(.hostSignal)
            endContinuation.yield(.quit)
        }
    }

    /// Tells clients that a disk of the host gave an error, which the guest sees as one of its disk: any thread.
    ///
    /// - Parameter device: The disk's name in `query-block`.
    public func diskFailed(_ device: String, isWrite: Bool, _ error: SystemError) {
        events.send(
            event: "BLOCK_IO_ERROR",
            data: [
                "device": .string(device), "node-name": "", "operation": isWrite ? "write" : "read", "action": "report",
                "nospace": .bool(error.number == SystemError.noSpace), "reason": .string(error.reason),
            ])
    }

    private func react(to notice: MachineController.Notice) {
        Task {
            switch notice {
            case .guestAsks(.shutdown):
                try? await driver.shutDown(.guestShutdown)
                endContinuation.yield(.quit)
            case .guestAsks(.reset) where options.endsOnReset:
                try? await driver.shutDown(.guestReset)
                endContinuation.yield(.quit)
            case .guestAsks(.reset):
                do { try await driver.reset(.guestReset) } catch { endContinuation.yield(.failed("\(error)")) }
            case .failed(let failure):
                try? await driver.stopped(by: .internalError)
                reportFailure("\(failure)")
            }
        }
    }

    /// The guest stays stopped for whoever looks; without QMP nobody can, and the monitor ends.
    private func reportFailure(_ text: String) {
        if server == nil { endContinuation.yield(.failed(text)) } else { failureHandler.withLock { $0 }?(text) }
    }

    private let failureHandler = Mutex<(@Sendable (String) -> Void)?>(nil)

    /// Sets what hears that a guest was stopped because a virtual CPU could not go on.
    public func onFailure(_ handler: @escaping @Sendable (String) -> Void) {
        failureHandler.withLock { $0 = handler }
    }
}
