internal import LinuxSystem
internal import QMP

/// One connection, as the server's thread sees it.
final class ServerClient {
    let socket: SharedSocket
    let output: ClientOutput
    private let server: QMPServer
    private var session: ServerSession
    /// Came with bytes of a command that is not complete.
    private var descriptors: [PassedDescriptor] = []
    /// Read and not yet begun, in order: the rest of what one read brought, while the client does not read replies
    /// or an earlier command is not done.
    private var waiting: [(ServerSession.Action, [PassedDescriptor])] = []
    private var canRead = true
    private var hasFailed = false
    private(set) var interest: Poller.Events = [.readable, .writable]

    init(_ socket: SharedSocket, _ server: QMPServer) {
        self.socket = socket
        self.server = server
        session = ServerSession(greeting: server.greeting, limits: server.limits.text)
        output = ClientOutput(limit: server.limits.outputByteCount)
        output.append(session.greetingLine)
    }

    /// Whether nothing more can come of this connection.
    var hasEnded: Bool {
        if hasFailed || output.isClosed { return true }
        return !canRead && waiting.isEmpty && output.commandCount == 0 && output.waitingByteCount == 0
    }

    func stopReading() { canRead = false }

    func handle(_ events: Poller.Events) {
        // Both directions are gone: nobody would read what is still written.
        if events.contains(.hangUp) || events.contains(.error) { hasFailed = true }
        if events.contains(.readable) && !hasFailed { read() }
    }

    /// Begins and sends what can be, and waits for what has to be waited for.
    func update(_ poller: borrowing Poller, key: UInt64) {
        do {
            repeat { try output.drain { try socket.socket.sendWhatFits($0) } } while beginWaiting()
            var wanted: Poller.Events = []
            if shallRead { wanted.insert(.readable) }
            if output.waitingByteCount > 0 { wanted.insert(.writable) }
            if wanted != interest {
                try poller.change(socket.socket.descriptor.number, to: wanted, key: key)
                interest = wanted
            }
        } catch {
            hasFailed = true
        }
    }

    /// Another command may begin.
    private var hasRoom: Bool {
        let commandLimit = session.hasOutOfBand ? server.limits.waitingCommandCount : 1
        return output.commandCount < commandLimit && output.waitingByteCount <= server.limits.outputBackPressure
    }

    private var shallRead: Bool { canRead && waiting.isEmpty && hasRoom }

    private func read() {
        guard shallRead else { return }
        do {
            guard let arrival = try socket.socket.receiveArrived() else { return }
            if arrival.bytes.isEmpty { canRead = false }
            if arrival.descriptors.isEmpty {
                take(arrival.bytes)
            } else {
                // The descriptors belong to the command that contains the last byte, or begins behind it.
                take(arrival.bytes.dropLast())
                descriptors += arrival.descriptors
                take(arrival.bytes.suffix(1))
            }
        } catch {
            hasFailed = true
        }
    }

    private func take(_ bytes: some Sequence<UInt8>) {
        for action in session.receive(Array(bytes)) {
            if case .executeNow(let command) = action {
                // What is ready comes before it all the same, the answer to the negotiation above all.
                _ = beginWaiting()
                output.commandBegan()
                server.enqueueNow(.execute(command, descriptors, output))
            } else {
                waiting.append((action, descriptors))
            }
            descriptors = []
        }
    }

    /// Begins what waits, as far as there is room; whether anything began.
    private func beginWaiting() -> Bool {
        var count = 0
        while count < waiting.count && hasRoom {
            let (action, descriptors) = waiting[count]
            count += 1
            switch action {
            case .reply(let reply) where output.commandCount == 0:
                output.append(ServerSession.line(reply.value))
                // Of the replies that are ready only that to the negotiation is no error. Events may come from now
                // on: behind it, and before anything the commands behind it cause.
                if case .success = reply.result { output.startEvents() }
            case .reply(let reply):
                output.commandBegan()
                server.enqueue(.reply(reply, output))
            case .execute(let command), .executeNow(let command):
                output.commandBegan()
                server.enqueue(.execute(command, descriptors, output))
            }
        }
        waiting.removeFirst(count)
        return count > 0
    }
}
