import Glibc
import LinuxSystem
import QMP
import QMPClient
import Synchronization

@testable import Monitor

/// A QMP server with a machine that is none, on a socket of its own.
final class TestMonitor: Sendable {
    let path: String
    let server: QMPServer
    let machine = TestMachine()
    let migration = TestMigration()
    let services: MonitorServices
    let hasQuit = Gate()

    init(limits: QMPServer.Limits = QMPServer.Limits(), initial: RunState = .prelaunch) throws {
        let events = DeferredEvents()
        let driver = StateDriver(machine: machine, events: events, initial: initial)
        let version = Greeting.Version(major: 7, minor: 2, micro: 0, package: "test")
        let settings = MigrationSettingsStore(
            offeredCapabilities: MigrationCapability.ofQEMU72, offeredParameters: MigrationParameter.ofQEMU72)
        services = MonitorServices(
            identity: MonitorServices.Identity(version: version), driver: driver, machine: machine,
            migration: migration, settings: settings, quit: { [hasQuit] in hasQuit.open() })
        var registry = CommandRegistry(services)
        registry.register("test-wait") { [machine] in
            try await onThread(named: "test-wait") { try machine.pause() }
            return .nothing
        }
        registry.register("test-large") { .array([QMPValue](repeating: "0123456789", count: 5000)) }
        server = try QMPServer(greeting: Greeting(version: version), registry: registry, limits: limits)
        events.target.withLock { [server] in $0 = server }
        path = temporaryPath("qmp")
        try server.listen(at: path)
    }

    deinit {
        // Here and not with the server, whose thread may not get to it before the tests end.
        unlink(path)
        Thread.detach { [server] in server.close(within: .milliseconds(100)) }
    }

    func client() async throws -> QMPClient { try await QMPClient.connect(to: path) }
    func rawClient() throws -> RawClient { RawClient(try Socket(connectingTo: .unix(path: path))) }
}

/// The server needs the commands, and the commands the server's events.
private final class DeferredEvents: EventSink {
    let target = Mutex<QMPServer?>(nil)
    func send(event name: String, data: QMPObject?) { target.withLock { $0 }?.send(event: name, data: data) }
}

/// A path in the folder for temporary files that nobody else has.
func temporaryPath(_ suffix: String) -> String {
    "/tmp/apus-\(getpid())-\(UInt32.random(in: 0 ... .max)).\(suffix)"
}

enum Thread {
    /// Runs what blocks on a thread of its own.
    static func detach(_ body: @escaping @Sendable () -> Void) { _ = try? BlockingThread(name: "test", body: body) }

    /// Runs what blocks on a thread of its own, and waits for its result without holding up other tasks.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            detach { continuation.resume(with: Result { try body() }) }
        }
    }
}

/// A client that sends any bytes and reads whole lines.
final class RawClient: Sendable {
    struct TimeIsUp: Error {}

    private let socket: Socket
    private let poller: Poller?
    private let pending = Mutex<[UInt8]>([])

    init(_ socket: consuming Socket) {
        self.socket = socket
        poller = try? Poller()
        try? poller?.add(self.socket.descriptor.number, for: .readable, key: 1)
    }

    func send(_ text: String, passing descriptors: [Int32] = []) async throws {
        try await send(Array(text.utf8), passing: descriptors)
    }

    /// Sends all of `bytes` in one call.
    func send(_ bytes: [UInt8], passing descriptors: [Int32] = []) async throws {
        try await Thread.run { [self] in
            try bytes.withUnsafeBytes { bytes in
                if descriptors.isEmpty {
                    try socket.send(all: bytes)
                } else {
                    try socket.send(all: bytes, descriptors: descriptors)
                }
            }
        }
    }

    func endSending() { socket.endSending() }
    func shutDown() { socket.shutDown() }

    /// The next lines; nil at the end of the connection.
    func lines(_ count: Int) async throws -> [QMPValue?] {
        try await Thread.run { [self] in try (0..<count).map { _ in try nextLine(within: .seconds(20)) } }
    }

    /// The next line; nil at the end of the connection.
    func line(within limit: Duration = .seconds(20)) async throws -> QMPValue? {
        try await Thread.run { [self] in try nextLine(within: limit) }
    }

    private func nextLine(within limit: Duration) throws -> QMPValue? {
        let deadline = ContinuousClock.now + limit
        while true {
            let line = pending.withLock { pending -> [UInt8]? in
                guard let end = pending.firstIndex(of: 0x0A) else { return nil }
                defer { pending.removeFirst(end + 1) }
                return Array(pending[...end])
            }
            if let line { return try QMPValue(parsing: String(decoding: line, as: UTF8.self)) }
            if let arrival = try socket.receiveArrived(maximumCount: 65536) {
                if arrival.bytes.isEmpty { return nil }
                pending.withLock { $0 += arrival.bytes }
            } else if ContinuousClock.now >= deadline {
                throw TimeIsUp()
            } else {
                _ = try poller?.wait(for: deadline - .now)
            }
        }
    }

    /// Reads the greeting and negotiates.
    func negotiate(_ arguments: String = "{}") async throws {
        _ = try await line()
        try await send(#"{"execute":"qmp_capabilities","arguments":\#(arguments)}"#)
        _ = try await line()
    }

    /// Executes one command and returns the whole reply.
    func command(_ text: String) async throws -> QMPValue? {
        try await send(text)
        return try await line()
    }
}
