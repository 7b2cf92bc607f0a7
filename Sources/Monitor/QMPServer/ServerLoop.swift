internal import LinuxSystem
internal import QMP

/// The server's thread: waits for all sockets, and is the only one that reads and writes them.
final class ServerLoop {
    private let server: QMPServer
    private var listeners: [UInt64: SharedListener] = [:]
    private var clients: [UInt64: ServerClient] = [:]
    private var nextKey: UInt64 = 1
    private var deadline: ContinuousClock.Instant?
    private var isAccepting = true
    private var acceptAgain: ContinuousClock.Instant?

    init(_ server: QMPServer) { self.server = server }

    func run() {
        while true {
            let ready = (try? server.poller.wait(for: patience)) ?? []
            for event in ready { handle(event) }
            for request in server.takeRequests() { handle(request) }
            for (key, client) in clients {
                client.update(server.poller, key: key)
                if client.hasEnded { disconnect(key) }
            }
            updateAccepting()
            if let deadline, clients.isEmpty || .now >= deadline { break }
        }
        for key in clients.keys { disconnect(key) }
        for listener in listeners.values {
            try? server.poller.remove(listener.socket.descriptor.number)
            listener.socket.removePath()
        }
    }

    private var patience: Duration? {
        guard let next = [deadline, acceptAgain].compactMap({ $0 }).min() else { return nil }
        return max(.zero, next - .now)
    }

    private func handle(_ event: Poller.Ready) {
        if event.key == 0 {
            server.wakeUp.drain()
        } else if let listener = listeners[event.key] {
            accept(from: listener)
        } else if let client = clients[event.key] {
            client.handle(event.events)
        }
    }

    private func handle(_ request: QMPServer.Request) {
        switch request {
        case .listen(let listener):
            listeners[nextKey] = listener
            try? server.poller.add(listener.socket.descriptor.number, for: .readable, key: nextKey)
            nextKey += 1
        case .serve(let socket): add(socket)
        case .close(let deadline):
            self.deadline = deadline
            for client in clients.values { client.stopReading() }
        }
    }

    private func accept(from listener: SharedListener) {
        do {
            while clients.count < server.limits.clientCount, let socket = try listener.socket.acceptWaiting() {
                add(SharedSocket(socket))
            }
        } catch {
            // Out of descriptors or memory: the connection stays where it waits, and so would the event.
            acceptAgain = .now + .seconds(1)
        }
    }

    private func add(_ socket: SharedSocket) {
        guard deadline == nil, (try? socket.socket.setNotWaiting()) != nil else { return }
        let client = ServerClient(socket, server)
        guard (try? server.poller.add(socket.socket.descriptor.number, for: client.interest, key: nextKey)) != nil
        else { return }
        clients[nextKey] = client
        server.register(client.output)
        nextKey += 1
    }

    private func disconnect(_ key: UInt64) {
        guard let client = clients.removeValue(forKey: key) else { return }
        client.output.close()
        server.unregister(client.output)
        try? server.poller.remove(client.socket.socket.descriptor.number)
    }

    /// Leaves connections waiting while there are too many clients, while accepting fails, and at the end.
    private func updateAccepting() {
        if let time = acceptAgain, .now >= time { acceptAgain = nil }
        let shallAccept = clients.count < server.limits.clientCount && acceptAgain == nil && deadline == nil
        guard shallAccept != isAccepting else { return }
        isAccepting = shallAccept
        for (key, listener) in listeners {
            try? server.poller.change(
                listener.socket.descriptor.number, to: shallAccept ? .readable : [], key: key)
        }
    }
}
