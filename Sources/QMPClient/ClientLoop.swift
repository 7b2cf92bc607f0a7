internal import LinuxSystem
internal import QMP
internal import Synchronization

/// The client's thread: the only one that reads and writes the socket.
final class ClientLoop {
    private let client: QMPClient
    private let greetingDeadline: ContinuousClock.Instant
    private var isReady = false
    private var wantsToWrite = false

    init(_ client: QMPClient, greetingDeadline: ContinuousClock.Instant) {
        self.client = client
        self.greetingDeadline = greetingDeadline
    }

    func run() {
        do {
            while true {
                let ready = try client.poller.wait(for: isReady ? nil : max(.zero, greetingDeadline - .now))
                client.wakeUp.drain()
                if client.shallClose { return client.end("The connection was closed here.") }
                if ready.contains(where: { $0.key == 1 }), try !read() {
                    return client.end("The server ended the connection.")
                }
                if !isReady && .now >= greetingDeadline {
                    return client.end("The server did not greet in time.")
                }
                try write()
            }
        } catch {
            client.end("\(error)")
        }
    }

    /// False at the end of the connection.
    private func read() throws -> Bool {
        while let arrival = try client.socket.receiveArrived(maximumCount: 65536) {
            if arrival.bytes.isEmpty { return false }
            let messages = try client.state.withLock { state in
                let messages = try state.session.receive(arrival.bytes)
                let output = state.session.takeOutput()
                if !output.isEmpty { state.output.append(QMPClient.Output(bytes: output[...])) }
                return messages
            }
            for message in messages { deliver(message) }
        }
        return true
    }

    private func deliver(_ message: ClientSession.Message) {
        switch message {
        case .greeting: break
        case .ready:
            isReady = true
            let continuation = client.state.withLock { $0.ready.take() }
            continuation?.resume()
        case .reply(let ticket, let result):
            // Nobody waits when the task was cancelled.
            let continuation = client.state.withLock { $0.replies.removeValue(forKey: ticket) }
            continuation?.resume(with: result.mapError { $0 as any Error })
        case .event(let event):
            for subscriber in client.state.withLock({ Array($0.subscribers.values) }) { subscriber.yield(event) }
        }
    }

    private func write() throws {
        while let next = client.state.withLock({ $0.output.first }) {
            let count = try client.socket.sendWhatFits(next.bytes, descriptors: next.descriptors.map(\.number))
            client.state.withLock { state in
                guard count > 0, !state.output.isEmpty else { return }
                // The descriptors went with the first byte.
                state.output[0].descriptors = []
                state.output[0].bytes = state.output[0].bytes.dropFirst(count)
                if state.output[0].bytes.isEmpty { state.output.removeFirst() }
            }
            if count == 0 { break }
        }
        let isWaiting = client.state.withLock { !$0.output.isEmpty }
        if isWaiting != wantsToWrite {
            wantsToWrite = isWaiting
            try client.poller.change(
                client.socket.descriptor.number, to: isWaiting ? [.readable, .writable] : .readable, key: 1)
        }
    }
}
