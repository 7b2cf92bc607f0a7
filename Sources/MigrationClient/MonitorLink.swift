public import MigrationRecords
public import QMP
public import QMPClient

/// A connection to one of the two monitors, and what it said of itself.
public struct MonitorLink: Sendable {
    public let client: QMPClient
    public let side: MigrationRecord.Side
    public let monitor: MigrationRecord.Monitor
    /// Before the migration.
    public let runState: RunState?

    /// Connects to the QMP socket at `path`.
    ///
    /// - Throws: `PreparationError` that names the socket.
    public static func connect(to path: String, as side: MigrationRecord.Side) async throws -> MonitorLink {
        do {
            let client = try await QMPClient.connect(to: path)
            return try await MonitorLink(client, socket: path, side: side)
        } catch let error as QMPClient.ConnectionEnded {
            throw PreparationError("The \(side.rawValue)'s monitor at \(path) cannot be used: \(error.description)")
        } catch let error as QMPError {
            throw PreparationError("The \(side.rawValue)'s monitor at \(path) refuses: \(error.description).")
        } catch let error as PreparationError {
            throw error
        } catch {
            throw PreparationError("The \(side.rawValue)'s monitor at \(path) cannot be reached: \(error).")
        }
    }

    init(_ client: QMPClient, socket: String, side: MigrationRecord.Side) async throws {
        self.client = client
        self.side = side
        let status = try await client.execute("query-status")
        runState = status["status"]?.stringValue.flatMap(RunState.init)
        let cpus = try await client.execute("query-cpus-fast").arrayValue?.count ?? 0
        monitor = MigrationRecord.Monitor(
            program: client.greeting.map { Self.program($0.version) } ?? "unknown", socket: socket,
            guest: try await client.execute("query-name")["name"]?.stringValue, virtualCPUCount: cpus)
    }

    private static func program(_ version: Greeting.Version) -> String {
        if version.package.hasPrefix("apus") { return version.package }
        return "QEMU \(version.major).\(version.minor).\(version.micro)"
    }

    /// "The source (apus 0.1.0 at /run/guest.qmp)".
    var title: String { "The \(side.rawValue) (\(monitor.program) at \(monitor.socket))" }

    func migrationAnswer() async throws -> QMPValue { try await client.execute("query-migrate") }

    func queryRunState() async throws -> RunState? {
        try await client.execute("query-status")["status"]?.stringValue.flatMap(RunState.init)
    }

    /// Executes a command of the preparation; an error then names the monitor.
    @discardableResult
    func prepare(
        _ command: String, _ arguments: QMPObject = [:], isOutOfBand: Bool = false
    ) async throws -> QMPValue {
        do {
            return try await client.execute(command, arguments, isOutOfBand: isOutOfBand)
        } catch let error as QMPError {
            throw PreparationError("\(title) refuses \(command): \(Self.sentence(error.description))")
        } catch let error as QMPClient.ConnectionEnded {
            throw PreparationError("\(title) ended the connection during \(command): \(error.description)")
        }
    }

    static func sentence(_ text: String) -> String { text.hasSuffix(".") ? text : text + "." }
}
