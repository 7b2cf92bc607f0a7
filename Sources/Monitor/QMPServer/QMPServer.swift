public import LinuxSystem
public import QMP
internal import Synchronization

/// Serves QMP on UNIX sockets to any number of clients.
///
/// One thread ("qmp") waits for all sockets, reads and writes; commands are executed by one task, one after the other
/// in the order of their arrival over all clients, those sent with `exec-oob` by a second one. A client that does not read
/// costs the others nothing: its output is queued up to a limit, and then it is disconnected.
///
///     socket ─▶ thread: ServerSession ─▶ commands ─▶ task: registry ─▶ replies ─▶ client's output ─▶ thread ─▶ socket
///                                                    events (any thread) ──────────▶ all clients' outputs
///
/// What is in a client's output is sent in order, so an event that a command causes comes before its reply.
public final class QMPServer: Sendable {
    /// What a client may cost.
    public struct Limits: Sendable {
        public var text = QMPLimits()
        /// Bytes that may wait for a client that does not read; one more disconnects it.
        public var outputByteCount = 4 << 20
        /// Bytes waiting for a client above which nothing more is read from it.
        public var outputBackPressure = 64 << 10
        /// Commands of one client that may wait with `oob`; without it there is one at a time.
        public var waitingCommandCount = 8
        /// Connections at one time; more wait to be accepted.
        public var clientCount = 32

        public init() {}
    }

    let greeting: Greeting
    let limits: Limits
    private let registry: CommandRegistry
    let poller: Poller
    let wakeUp: EventDescriptor
    private let requests = Mutex<[Request]>([])
    private let outputs = Mutex<[ClientOutput]>([])
    private let thread = Mutex<BlockingThread?>(nil)
    private let jobs: AsyncStream<Job>.Continuation
    private let urgentJobs: AsyncStream<Job>.Continuation

    /// What the thread is asked to do.
    enum Request: Sendable {
        case listen(SharedListener)
        case serve(SharedSocket)
        case close(deadline: ContinuousClock.Instant)
    }

    /// A command to execute, or a reply that has to wait for the commands before it.
    enum Job: Sendable {
        case reply(Reply, ClientOutput)
        case execute(Command, [PassedDescriptor], ClientOutput)
    }

    /// Starts the thread and the task. Call `close` to end them.
    public init(greeting: Greeting, registry: CommandRegistry, limits: Limits = Limits()) throws {
        self.greeting = greeting
        self.registry = registry
        self.limits = limits
        poller = try Poller()
        wakeUp = try EventDescriptor()
        let (stream, jobs) = AsyncStream.makeStream(of: Job.self)
        self.jobs = jobs
        let (urgentStream, urgentJobs) = AsyncStream.makeStream(of: Job.self)
        self.urgentJobs = urgentJobs
        try poller.add(wakeUp.number, for: .readable, key: 0)
        let started = try BlockingThread(name: "qmp") { [self] in ServerLoop(self).run() }
        thread.withLock { $0 = started }
        Task.detached { [self] in
            for await job in stream { await perform(job) }
        }
        Task.detached { [self] in
            for await job in urgentStream { await perform(job) }
        }
    }

    /// Serves everyone who connects to the UNIX socket at `path`. The path goes away with `close`.
    ///
    /// - Throws: `SystemError` when somebody listens there already, or the path cannot be made.
    public func listen(at path: String) throws {
        let listener = SharedListener(try ListeningSocket(replacingStaleSocketAt: path))
        try listener.socket.setNotWaiting()
        ask(.listen(listener))
    }

    /// Serves the client at the other end of a connected socket.
    public func serve(_ socket: consuming Socket) { ask(.serve(SharedSocket(socket))) }

    /// Puts an event with the present time into the output of every client that has negotiated. From any thread.
    public func send(event name: String, data: QMPObject? = nil) {
        let now = WallClock.now
        let time = Event.Timestamp(seconds: now.seconds, microseconds: now.microseconds)
        let line = ServerSession.line(Event(name, data: data, at: time).value)
        outputs.withLock { outputs in
            for output in outputs where output.wantsEvents { output.append(line) }
        }
        wakeUp.notify()
    }

    /// Lets the commands that are there be answered, then disconnects everyone and ends. Waits at most `limit`.
    ///
    /// Not in a task: it blocks until the thread has ended.
    public func close(within limit: Duration = .seconds(1)) {
        ask(.close(deadline: .now + limit))
        let thread = thread.withLock { $0.take() }
        thread?.join()
        jobs.finish()
        urgentJobs.finish()
    }

    private func ask(_ request: Request) {
        requests.withLock { $0.append(request) }
        wakeUp.notify()
    }
}

/// What the thread uses.
extension QMPServer {
    func takeRequests() -> [Request] {
        requests.withLock { requests in
            defer { requests = [] }
            return requests
        }
    }

    func register(_ output: ClientOutput) { outputs.withLock { $0.append(output) } }
    func unregister(_ output: ClientOutput) { outputs.withLock { $0.removeAll { $0 === output } } }

    func enqueue(_ job: Job) { jobs.yield(job) }

    func enqueueNow(_ job: Job) { urgentJobs.yield(job) }

    private func perform(_ job: Job) async {
        switch job {
        case .reply(let reply, let output): finish(reply, for: output)
        case .execute(let command, _, let output)
        where command.isOutOfBand && registry.isOutOfBand(command.name) == false:
            finish(Reply(.failure(ServerSession.notOutOfBand(command.name)), id: command.id), for: output)
        case .execute(let command, let descriptors, let output):
            // Nobody would know the result of what a client asked that has gone; it may connect again and ask.
            guard !output.isClosed else { return }
            let result = await registry.execute(command, descriptors: descriptors)
            finish(Reply(result, id: command.id), for: output)
        }
    }

    private func finish(_ reply: Reply, for output: ClientOutput) {
        output.append(ServerSession.line(reply.value))
        output.commandEnded()
        wakeUp.notify()
    }
}

/// Owners that a thread and its requests can share.
final class SharedListener: Sendable {
    let socket: ListeningSocket
    init(_ socket: consuming ListeningSocket) { self.socket = socket }
}

final class SharedSocket: Sendable {
    let socket: Socket
    init(_ socket: consuming Socket) { self.socket = socket }
}
