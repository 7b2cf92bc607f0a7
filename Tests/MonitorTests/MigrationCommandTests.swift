import Monitor
import QMP
import Testing
import Transports

@Suite("Migration commands") struct MigrationCommandTests {
    private let machine = TestMachine()
    private let migration = TestMigration()
    private let driver: StateDriver
    private let registry: CommandRegistry

    init() { (driver, registry) = Self.make(.prelaunch, machine, migration) }

    private static func make(
        _ initial: RunState, _ machine: TestMachine, _ migration: TestMigration
    ) -> (StateDriver, CommandRegistry) {
        let driver = StateDriver(machine: machine, events: TestEvents(), initial: initial)
        let version = Greeting.Version(major: 7, minor: 2, micro: 0, package: "")
        let services = MonitorServices(
            identity: MonitorServices.Identity(name: "guest", version: version), driver: driver, machine: machine,
            migration: migration, quit: {})
        return (driver, CommandRegistry(services))
    }

    private func run(
        _ name: String, _ arguments: QMPObject = [:], in registry: CommandRegistry? = nil
    ) async throws -> QMPValue {
        try await (registry ?? self.registry).execute(Command(name, arguments)).get()
    }

    @Test func `start a migration to a URI or to channels`() async throws {
        #expect(try await run("migrate", ["uri": "unix:/x", "detach": true]) == .nothing)
        let address: QMPValue = ["transport": "socket", "type": "inet", "host": "h", "port": "1", "to": 9]
        _ = try await run("migrate", ["channels": [["channel-type": "main", "addr": address]]])
        let tcp = MigrationAddress.tcp(host: "h", port: 1, lastPort: 9, family: .any)
        #expect(
            migration.calls == [
                "migrate \(MigrationAddress.unix(path: "/x")) resumes=false", "migrate \(tcp) resumes=false",
            ])
    }

    @Test func `refuse a second migration and settings during one`() async throws {
        migration.set(.active)
        let refused = QMPError("There's a migration process in progress")
        await #expect(throws: refused) { try await run("migrate", ["uri": "unix:/x"]) }
        await #expect(throws: refused) { try await run("migrate-set-capabilities", ["capabilities": []]) }
        _ = try await run("migrate-set-parameters", ["downtime-limit": 5])
        #expect(migration.calls == ["parameters"])
        #expect(try await run("query-migrate-parameters")["downtime-limit"] == 5)
    }

    @Test func `resume only what is paused`() async throws {
        await #expect(throws: QMPError("Cannot resume if there is no paused migration")) {
            try await run("migrate", ["uri": "unix:/x", "resume": true])
        }
        migration.set(.postcopyPaused)
        _ = try await run("migrate", ["uri": "unix:/x", "resume": true])
        _ = try await run("migrate-recover", ["uri": "unix:/y"])
        #expect(migration.calls.count == 2)
    }

    @Test func `are refused on the wrong side`() async throws {
        let (_, incoming) = Self.make(.incomingMigration, machine, migration)
        await #expect(throws: QMPError("Guest is waiting for an incoming migration")) {
            try await run("migrate", ["uri": "unix:/x"], in: incoming)
        }
        await #expect(throws: QMPError("'-incoming' was not specified on the command line")) {
            try await run("migrate-incoming", ["uri": "unix:/x"])
        }
        await #expect(throws: QMPError("the path is taken")) {
            try await run("migrate-incoming", ["uri": "unix:/taken"], in: incoming)
        }
        _ = try await run("migrate-incoming", ["uri": "unix:/x"], in: incoming)
        await #expect(throws: QMPError("The incoming migration has already been started")) {
            try await run("migrate-incoming", ["uri": "unix:/x"], in: incoming)
        }
    }

    @Test func `refuse to move a guest that has moved away`() async throws {
        try await driver.cont()
        _ = try driver.beginSwitchover()
        try driver.completeMigration()
        await #expect(throws: QMPError("Can't migrate the vm that was paused due to previous migration")) {
            try await run("migrate", ["uri": "unix:/x"])
        }
    }

    @Test func `go on behind a pause`() async throws {
        migration.set(.preSwitchover)
        _ = try await run("migrate-continue", ["state": "pre-switchover"])
        #expect(migration.calls == ["proceed"])
        migration.set(.active)
        await #expect(throws: QMPError("Migration not in expected state: active")) {
            try await run("migrate-continue", ["state": "pre-switchover"])
        }
    }

    @Test(
        arguments: [
            (["transport": "exec", "args": ["a", "b"]], .exec(["a", "b"])),
            (["transport": "file", "filename": "/x", "offset": 5], .file(path: "/x", offset: 5)),
            (["transport": "socket", "type": "fd", "str": "7"], .descriptor("7")),
            (["transport": "socket", "type": "unix", "path": "/y"], .unix(path: "/y")),
            (
                ["transport": "socket", "type": "inet", "host": "::", "port": "0", "ipv6": true],
                .tcp(host: "::", port: 0, lastPort: 0, family: .ipv6)
            ),
        ] as [(QMPValue, MigrationAddress)])
    func `read channels`(value: QMPValue, address: MigrationAddress) async throws {
        _ = try await run("migrate", ["channels": [["channel-type": "main", "addr": value]]])
        #expect(migration.calls == ["migrate \(address) resumes=false"])
    }

    @Test(
        arguments: [
            ([:], "Parameter 'uri' is missing"), (["channels": []], "Channel list must have one entry, not 0"),
            (["channels": [["channel-type": "main"]]], "Parameter 'channels[0].addr' is missing"),
            (
                ["channels": [["channel-type": "main", "addr": ["transport": "socket"]]]],
                "Parameter 'channels[0].addr.type' is missing"
            ),
            (
                ["channels": [["channel-type": "main", "addr": ["transport": "exec", "args": [], "x": 1]]]],
                "Parameter 'channels[0].addr.x' is unexpected"
            ),
            (
                ["channels": [], "uri": "fd:1"],
                "'uri' and 'channels' arguments are mutually exclusive; exactly one of the two should be present"
            ),
            (["uri": "foo"], "Parameter 'uri' expects a valid migration protocol"),
            (["uri": "tcp:x"], "'tcp:x' lacks a port: tcp:HOST:PORT."),
            (["uri": "rdma:h:1"], "'rdma:h:1': rdma: is not built in."),
        ] as [(QMPObject, String)])
    func `say what is wrong with an address`(object: QMPObject, reason: String) async {
        await #expect(throws: QMPError(reason)) { try await run("migrate", object) }
    }

    @Test func `list every command that is there`() async throws {
        let names = try #require(try await run("query-commands").arrayValue).compactMap { $0["name"]?.stringValue }
        let wanted = [
            "query-status", "stop", "cont", "quit", "system_powerdown", "system_reset", "query-cpus-fast",
            "query-version", "query-commands", "query-kvm", "query-name", "query-uuid", "query-block", "getfd",
            "closefd", "query-migrate", "migrate", "migrate-incoming", "migrate-set-capabilities",
            "query-migrate-capabilities", "migrate-set-parameters", "query-migrate-parameters", "qmp_capabilities",
        ]
        #expect(Set(wanted).subtracting(names).isEmpty)
        #expect(names == names.sorted())
        for name in names where name != "quit" {
            let result = await registry.execute(Command(name, ["no-such-argument": 1]))
            guard case .failure(let error) = result else {
                Issue.record("\(name) took an argument that does not exist")
                continue
            }
            #expect(error.description.hasPrefix("Parameter '"))
        }
        #expect(machine.calls.isEmpty)
    }
}
