public import LinuxSystem
public import QMP
internal import Synchronization

/// A connection to any QMP monitor over a UNIX socket.
///
///     let client = try await QMPClient.connect(to: "/run/guest.qmp")
///     let status = try await client.execute("query-status")
///     for await event in client.events() { … }
///
/// Commands may be executed by several tasks at a time. One thread ("qmp-client") reads and writes; nothing here
/// blocks a task. The connection lasts until `close` or the server's end. When it ends, everything that waits fails with `ConnectionEnded`, and event streams end.
public final class QMPClient: Sendable {
    /// Why there is no connection any more.
    public struct ConnectionEnded: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    /// Bytes to send, and descriptors to send with the first of them.
    struct Output: Sendable {
        var bytes: ArraySlice<UInt8>
        var descriptors: [PassedDescriptor] = []
    }

    struct State: Sendable {
        var session: ClientSession
        var output: [Output] = []
        var ready: CheckedContinuation<Void, any Error>?
        var replies: [ClientSession.Ticket: CheckedContinuation<QMPValue, any Error>] = [:]
        var subscribers: [Int: AsyncStream<Event>.Continuation] = [:]
        var nextSubscriber = 0
        var end: ConnectionEnded?
    }

    let socket: Socket
    let wakeUp: EventDescriptor
    let poller: Poller
    let state: Mutex<State>
    private let isClosing = Atomic(false)

    /// Connects to the UNIX socket at `path` and negotiates.
    ///
    /// - Parameter limit: How long the server may take to greet; a QEMU serves one client at a time and does not
    ///   greet the next before the first has gone.
    /// - Throws: `SystemError` when nobody listens there, `ConnectionEnded` when who listens is no QMP server.
    public static func connect(to path: String, within limit: Duration = .seconds(10)) async throws -> QMPClient {
        try await connect(over: try Socket(connectingTo: .unix(path: path)), within: limit)
    }

    /// Takes over a connected socket, on which the server greets, and negotiates.
    public static func connect(
        over socket: consuming Socket, within limit: Duration = .seconds(10)
    ) async throws -> QMPClient {
        let client = try QMPClient(socket)
        try await withCheckedThrowingContinuation { continuation in
            client.state.withLock { $0.ready = continuation }
            do {
                let deadline = ContinuousClock.now + limit
                _ = try BlockingThread(name: "qmp-client") { ClientLoop(client, greetingDeadline: deadline).run() }
            } catch {
                client.end("No thread could be started: \(error).")
            }
        }
        return client
    }

    private init(_ socket: consuming Socket) throws {
        try socket.setNotWaiting()
        self.socket = socket
        wakeUp = try EventDescriptor()
        poller = try Poller()
        state = Mutex(State(session: ClientSession()))
        try poller.add(wakeUp.number, for: .readable, key: 0)
        try poller.add(self.socket.descriptor.number, for: .readable, key: 1)
    }

    /// What the server said of itself.
    public var greeting: Greeting? { state.withLock { $0.session.greeting } }

    /// Executes a command and returns its result.
    ///
    /// A task that is cancelled stops to wait; the command is executed nevertheless.
    ///
    /// - Parameters:
    ///   - descriptors: Sent with the command (`getfd`, `add-fd`), and not to be taken before this returns.
    ///   - isOutOfBand: Execute it beside other commands, if the server offers that.
    /// - Throws: `QMPError` when the server refuses, `ConnectionEnded`, `CancellationError`.
    @discardableResult
    public func execute(
        _ name: String, _ arguments: QMPObject = [:], passing descriptors: [PassedDescriptor] = [],
        isOutOfBand: Bool = false
    ) async throws -> QMPValue {
        // The reply may come before this task goes on: who waits for it must be known when the command can be sent.
        let waiting = Mutex<ClientSession.Ticket?>(nil)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let failure = state.withLock { state -> (any Error)? in
                    if let end = state.end { return end }
                    let ticket = state.session.send(name, arguments, isOutOfBand: isOutOfBand)
                    state.output.append(Output(bytes: state.session.takeOutput()[...], descriptors: descriptors))
                    if Task.isCancelled { return CancellationError() }
                    state.replies[ticket] = continuation
                    waiting.withLock { $0 = ticket }
                    return nil
                }
                if let failure { continuation.resume(throwing: failure) }
                wakeUp.notify()
            }
        } onCancel: {
            let continuation = state.withLock { state in
                waiting.withLock { $0 }.flatMap { state.replies.removeValue(forKey: $0) }
            }
            continuation?.resume(throwing: CancellationError())
        }
    }

    /// Hands a descriptor over under `name`. It stays the caller's too.
    public func sendDescriptor(_ descriptor: borrowing OwnedDescriptor, named name: String) async throws {
        // A second one, because a task that is cancelled returns before it is sent.
        let second = PassedDescriptor(try descriptor.duplicate())
        try await execute("getfd", ["fdname": .string(name)], passing: [second])
    }

    /// The events from now on, to one reader. Ends with the connection.
    public func events() -> AsyncStream<Event> {
        let (stream, continuation) = AsyncStream.makeStream(of: Event.self)
        let number = state.withLock { state -> Int? in
            guard state.end == nil else { return nil }
            state.subscribers[state.nextSubscriber] = continuation
            state.nextSubscriber += 1
            return state.nextSubscriber - 1
        }
        guard let number else {
            continuation.finish()
            return stream
        }
        continuation.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.subscribers.removeValue(forKey: number) }
        }
        return stream
    }

    /// Ends the connection; what waits fails.
    public func close() {
        isClosing.store(true, ordering: .releasing)
        wakeUp.notify()
    }

    var shallClose: Bool { isClosing.load(ordering: .acquiring) }

    /// Marks the end, and tells everyone who waits. Only the first call counts.
    func end(_ reason: String) {
        let end = ConnectionEnded(description: reason)
        let waiting = state.withLock { state -> State? in
            guard state.end == nil else { return nil }
            state.end = end
            let waiting = state
            state.ready = nil
            state.replies = [:]
            state.subscribers = [:]
            state.output = []
            return waiting
        }
        guard let waiting else { return }
        socket.shutDown()
        waiting.ready?.resume(throwing: end)
        for continuation in waiting.replies.values { continuation.resume(throwing: end) }
        for continuation in waiting.subscribers.values { continuation.finish() }
    }
}
