internal import Foundation
internal import LinuxSystem

/// A QMP connection to a QEMU, one command at a time.
public final class MonitorLine: @unchecked Sendable {
    // Safe: used by one test at a time.
    private let socket: Socket
    private var received: [UInt8] = []

    /// What went wrong, in the monitor's words.
    public struct Failure: Error, CustomStringConvertible { public let description: String }

    /// Connects to the monitor at `path`, which may need a moment to be there, and enters command mode.
    public init(path: String, within limit: Duration = .seconds(20)) throws {
        let end = ContinuousClock.now + limit
        while true {
            do {
                socket = try Socket(connectingTo: .unix(path: path))
                break
            } catch {
                guard ContinuousClock.now < end else { throw error }
                // There is nothing to wait for: QEMU makes the socket when it comes to it.
                _ = Gate().wait(for: .milliseconds(20))
            }
        }
        _ = try readLine()
        try execute("qmp_capabilities")
    }

    /// Runs a command; what it returned. `arguments` are JSON.
    @discardableResult public func execute(_ command: String, _ arguments: String = "{}") throws -> [String: Any] {
        try answer(command, arguments) as? [String: Any] ?? [:]
    }

    /// Runs a command that returns a list of objects; nil if it returned something else.
    public func execute(list command: String) throws -> [[String: Any]]? {
        try answer(command, "{}") as? [[String: Any]]
    }

    private func answer(_ command: String, _ arguments: String) throws -> Any {
        let text = "{\"execute\":\"\(command)\",\"arguments\":\(arguments)}\n"
        try Array(text.utf8).withUnsafeBytes { try socket.send(all: $0) }
        while true {
            let line = try readLine()
            let object = try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any] ?? [:]
            if let value = object["return"] { return value }
            if object["error"] != nil {
                throw Failure(description: "\(command): \(String(decoding: line, as: UTF8.self))")
            }
        }
    }

    /// Waits until a monitor that was started with --incoming listens: its QMP answers before.
    public func waitUntilListening(for limit: Duration = .seconds(60)) throws {
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end {
            if try execute("query-migrate")["status"] != nil { return }
            _ = Gate().wait(for: .milliseconds(10))
        }
        throw Failure(description: "the monitor did not listen for a guest in time")
    }

    /// Asks again and again until a migration is over; its last state.
    public func waitForMigration(for limit: Duration = .seconds(60)) throws -> [String: Any] {
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end {
            let state = try execute("query-migrate")
            if let status = state["status"] as? String, ["completed", "failed", "cancelled"].contains(status) {
                return state
            }
            _ = Gate().wait(for: .milliseconds(50))
        }
        throw Failure(description: "the migration was not over in time")
    }

    private func readLine() throws -> [UInt8] {
        while true {
            if let end = received.firstIndex(of: 0x0A) {
                let line = Array(received[..<end])
                received.removeSubrange(...end)
                return line
            }
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            let count = try buffer.withUnsafeMutableBytes { try socket.receive(into: $0) }
            guard count > 0 else { throw Failure(description: "the monitor has closed the connection") }
            received += buffer.prefix(count)
        }
    }
}
