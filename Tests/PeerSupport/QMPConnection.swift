import Foundation
import LinuxSystem

/// A QMP session with a real QEMU: commands and their answers, events as they come.
final class QMPConnection: Sendable {
    typealias Object = [String: JSON]

    fileprivate struct Inbox: Sendable {
        var answers: [Int: Result<JSON, PeerError>] = [:]
        var events: [Object] = []
        /// All that ever came.
        var eventCount = 0
        var hasGreeted = false
        var hasEnded = false
    }

    private let socket: SharedSocket
    private let inbox = Watched(Inbox())
    private let nextID = Watched(0)

    /// Takes over a connection on which QEMU is about to greet, and negotiates.
    init(_ socket: consuming Socket, within limit: TimeLimit) throws {
        self.socket = SharedSocket(socket)
        let (shared, inbox) = (self.socket, inbox)
        Thread.detachNewThread { Self.readAll(from: shared, to: inbox) }
        guard inbox.wait(until: limit, { $0.hasGreeted || $0.hasEnded ? true : nil }) == true, inbox.current.hasGreeted
        else { throw PeerError("QEMU did not greet on its QMP socket.") }
        _ = try execute("qmp_capabilities", ["enable": ["oob"]])
    }

    /// Runs a command; its return value, or QEMU's error text as an error.
    @discardableResult
    func execute(_ command: String, _ arguments: Object? = nil, outOfBand: Bool = false) throws -> JSON {
        var id = 0
        nextID.change {
            $0 += 1
            id = $0
        }
        var request: Object = [outOfBand ? "exec-oob" : "execute": .string(command), "id": .number(Double(id))]
        if let arguments { request["arguments"] = .object(arguments) }
        try socket.send(try JSONEncoder().encode(JSON.object(request)))
        let answer = inbox.wait(until: .seconds(60)) { inbox -> Result<JSON, PeerError>? in
            if let answer = inbox.answers.removeValue(forKey: id) { return answer }
            return inbox.hasEnded ? .failure(PeerError("QEMU ended during \(command).")) : nil
        }
        guard let answer else { throw PeerError("QEMU did not answer \(command) in time.") }
        return try answer.get()
    }

    /// Waits for the first event, of those not waited for yet, that `matches`; those before it are dropped.
    @discardableResult
    func waitForEvent(
        _ name: String, within limit: TimeLimit, _ matches: @Sendable (JSON) -> Bool = { _ in true }
    ) throws -> JSON {
        let found = try inbox.wait(until: limit) { inbox -> JSON? in
            while !inbox.events.isEmpty {
                let event = inbox.events.removeFirst()
                if event["event"] == .string(name), matches(event["data"] ?? .null) { return event["data"] ?? .null }
            }
            if inbox.hasEnded { throw PeerError("QEMU ended before the event \(name).") }
            return nil
        }
        guard let found else { throw PeerError("The event \(name) did not come in time.") }
        return found
    }

    /// Asks `command` again after each event, and after each second without one, until `found` likes an answer; nil
    /// when the time is over.
    func ask<Found>(_ command: String, within limit: TimeLimit, _ found: (JSON) -> Found?) throws -> Found? {
        while true {
            let seen = inbox.current.eventCount
            if let value = found(try execute(command)) { return value }
            if limit.remainingSeconds == 0 { return nil }
            _ = inbox.wait(until: .seconds(min(1, limit.remainingSeconds))) { inbox in
                inbox.eventCount > seen || inbox.hasEnded ? true : nil
            }
        }
    }

    /// Waits until the migration has reached one of `statuses`; any final status that is none of them is an error.
    @discardableResult
    func waitForMigration(_ statuses: Set<String>, within limit: TimeLimit) throws -> String {
        let final: Set<String> = ["completed", "failed", "cancelled"]
        let data = try waitForEvent("MIGRATION", within: limit) { data in
            guard case .string(let status) = data["status"] else { return false }
            return statuses.contains(status) || final.contains(status)
        }
        guard case .string(let status) = data["status"], statuses.contains(status) else {
            let reason = try? execute("query-migrate")["error-desc"]
            throw PeerError(
                "The migration became \(data["status"] ?? .null) instead of \(statuses): \(reason ?? .null)")
        }
        return status
    }

    func close() { socket.shutDown() }

    private static func readAll(from socket: SharedSocket, to inbox: Watched<Inbox>) {
        var pending = Data()
        while let bytes = socket.receive() {
            pending.append(bytes)
            while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                let line = pending[..<end]
                pending = Data(pending[(end + 1)...])
                guard let message = try? JSONDecoder().decode(JSON.self, from: line) else { continue }
                inbox.change { $0.take(message) }
            }
        }
        inbox.change { $0.hasEnded = true }
    }
}

extension QMPConnection.Inbox {
    fileprivate mutating func take(_ message: JSON) {
        if message["QMP"] != nil { hasGreeted = true }
        if message["event"] != nil, case .object(let event) = message {
            events.append(event)
            eventCount += 1
        }
        guard case .number(let id)? = message["id"] else { return }
        if let value = message["return"] {
            answers[Int(id)] = .success(value)
        } else {
            answers[Int(id)] = .failure(PeerError("\(message["error"]?["desc"] ?? .null)"))
        }
    }
}

/// A socket that one thread reads while another writes.
final class SharedSocket: Sendable {
    private let socket: Socket

    init(_ socket: consuming Socket) { self.socket = socket }

    init(connectedTo path: String) throws { socket = try Socket(connectingTo: .unix(path: path)) }

    func send(_ data: Data) throws { try data.withUnsafeBytes { try socket.send(all: $0) } }

    /// The next bytes; nil at the end.
    func receive() -> Data? {
        var data = Data(count: 65536)
        let count = data.withUnsafeMutableBytes { (try? socket.receive(into: $0)) ?? 0 }
        return count > 0 ? data.prefix(count) : nil
    }

    /// The next bytes and the descriptors that came with them; nil at the end.
    func receiveWithDescriptors() -> (bytes: Data, descriptors: [Int32])? {
        var data = Data(count: 65536)
        let received = data.withUnsafeMutableBytes { try? socket.receiveWithDescriptors(into: $0) }
        guard let received, received.byteCount > 0 else { return nil }
        return (data.prefix(received.byteCount), received.descriptors)
    }

    /// Sends bytes and descriptors with the first of them, which are closed here then.
    func send(_ data: Data, passing descriptors: [Int32]) throws {
        defer { for number in descriptors { _ = OwnedDescriptor(adopting: number) } }
        try data.withUnsafeBytes { try socket.send(all: $0, descriptors: descriptors) }
    }

    func shutDown() { socket.shutDown() }
}
