internal import GuestMemory
public import LinuxSystem
internal import Synchronization

/// How many callers wait for a device to become quiet.
final class StopRequests: Sendable {
    private let count = Atomic<Int>(0)
    var arePending: Bool { count.load(ordering: .acquiring) > 0 }
    func begin() { count.add(1, ordering: .acquiringAndReleasing) }
    func end() { count.subtract(1, ordering: .acquiringAndReleasing) }
}

/// The side of a virtio device that works: its queues, and a thread that serves them.
///
/// The driver's notifications reach the thread through one eventfd per queue, which an exit handler writes or KVM itself
/// (ioeventfd). All work happens under one lock; whoever needs the device quiet asks the work to end early, takes the
/// lock, and thereby knows that no request is half done.
///
///     notify(queue) --eventfd--> thread: wait, lock, serve, unlock
///     pause, configure, reset ----------------> lock
public final class QueueServer: Sendable {
    /// An eventfd in a place of its own, for arrays.
    final class Notifier: Sendable {
        let event: EventDescriptor
        init() throws(SystemError) { event = try EventDescriptor() }
    }

    private struct State: Sendable {
        var queues: VirtioQueues
        var isRunning = false
        var isPaused = false
        var waitsForHost = false
    }

    public let device: any VirtioDevice
    public let interrupt: VirtioInterrupt
    private let notifiers: [Notifier]
    private let wake: Notifier
    private let poller: Poller
    private let gate = Gate(isOpen: true)
    private let stopRequests = StopRequests()
    private let isEnding = Atomic<Bool>(false)
    private let state: Mutex<State>
    private let thread = Mutex<BlockingThread?>(nil)
    private let reportFailure: @Sendable (VirtioError) -> Void

    private static let wakeKey: UInt64 = 1 << 32
    private static let hostKey: UInt64 = 1 << 33

    /// Starts the thread.
    ///
    /// - Parameter reportFailure: called when the driver lied, on the thread; the device serves nothing from then on.
    init(
        device: any VirtioDevice, memory: GuestAddressSpace, line: any InterruptLine,
        reportFailure: @escaping @Sendable (VirtioError) -> Void
    ) throws(SystemError) {
        self.device = device
        interrupt = VirtioInterrupt(line: line)
        self.reportFailure = reportFailure
        poller = try Poller()
        wake = try Notifier()
        try poller.add(wake.event.number, for: .readable, key: Self.wakeKey)
        var notifiers: [Notifier] = []
        for index in device.queueSizes.indices {
            let notifier = try Notifier()
            try poller.add(notifier.event.number, for: .readable, key: UInt64(index))
            notifiers.append(notifier)
        }
        self.notifiers = notifiers
        state = Mutex(
            State(
                queues: VirtioQueues(
                    sizes: device.queueSizes, memory: memory, interrupt: interrupt, stopRequests: stopRequests)))
        device.link.connect(to: self)
        let thread = try BlockingThread(name: device.name) { [self] in run() }
        self.thread.withLock { $0 = thread }
    }

    /// The driver has notified a queue; out of range numbers mean nothing. Any thread.
    func notify(_ queue: Int) {
        if notifiers.indices.contains(queue) { notifiers[queue].event.notify() }
    }

    public var queueCount: Int { notifiers.count }

    /// Lends the event descriptor that notifies a queue, for KVM.
    ///
    /// - Precondition: the queue exists.
    public func withNotification(
        of queue: Int, _ body: (borrowing EventDescriptor) throws(SystemError) -> Void
    ) throws(SystemError) { try body(notifiers[queue].event) }

    func requestService() { wake.event.notify() }

    // MARK: Control

    /// Runs `body` while nothing is served.
    func quietly<Value, Failure>(
        _ body: (inout VirtioQueues) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try changeQuietly { (state) throws(Failure) in try body(&state.queues) }
    }

    private func changeQuietly<Value, Failure>(
        _ body: (inout State) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        stopRequests.begin()
        var isPaused = false
        defer {
            stopRequests.end()
            // What was left in the rings because of this. Of a pause `resume` takes care.
            if !isPaused { wake.event.notify() }
        }
        return try state.withLock { (state) throws(Failure) in
            isPaused = state.isPaused
            return try body(&state)
        }
    }

    /// The queues as they are now.
    var snapshot: VirtioQueues { quietly { $0 } }

    /// The driver is ready with `features`: serves from now on.
    func start(features: UInt64) {
        changeQuietly { state in
            state.queues.features = features
            for index in state.queues.queues.indices {
                state.queues.queues[index].usesEventIndex = features & VirtioFeature.eventIndex != 0
                state.queues.queues[index].notifiesWhenEmpty = features & VirtioFeature.notifyOnEmpty != 0
            }
            device.driverIsReady(features: features)
            state.isRunning = true
        }
    }

    /// Serves nothing from now on, until `start`.
    func stop() {
        stopRequests.begin()
        state.withLock { $0.isRunning = false }
        stopRequests.end()
    }

    /// Forgets everything the driver set up.
    func reset() {
        stopRequests.begin()
        state.withLock { state in
            state.isRunning = false
            for index in state.queues.queues.indices {
                let maximumSize = state.queues.queues[index].maximumSize
                state.queues.queues[index] = Virtqueue(index: index, maximumSize: maximumSize)
            }
            state.queues.features = 0
            device.resetDevice()
        }
        interrupt.set([])
        stopRequests.end()
    }

    /// Makes the device quiet until `resume`.
    func pause() {
        stopRequests.begin()
        gate.close()
        state.withLock { $0.isPaused = true }
        stopRequests.end()
    }

    /// Goes on, looking at every queue.
    func resume() {
        state.withLock { $0.isPaused = false }
        interrupt.reassert()
        gate.open()
        wake.event.notify()
    }

    /// Ends the thread and waits for it. Nothing is served afterwards.
    func end() {
        stopRequests.begin()
        isEnding.store(true, ordering: .releasing)
        gate.open()
        wake.event.notify()
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    // MARK: The thread

    private func run() {
        while true {
            gate.wait()
            if isEnding.load(ordering: .acquiring) { return }
            var events: [VirtioEvent] = []
            // epoll_wait on descriptors that are open cannot fail but by an interruption, which gives no events.
            for ready in (try? poller.wait()) ?? [] {
                switch ready.key {
                case Self.wakeKey:
                    wake.event.drain()
                    events = notifiers.indices.map { .queue($0) } + [.host]
                case Self.hostKey: events.append(.host)
                default:
                    notifiers[Int(ready.key)].event.drain()
                    events.append(.queue(Int(ready.key)))
                }
            }
            if isEnding.load(ordering: .acquiring) { return }
            serve(events)
        }
    }

    private func serve(_ events: [VirtioEvent]) {
        var lie: VirtioError?
        state.withLock { state in
            guard !state.isPaused else { return }
            if state.isRunning {
                do throws(VirtioError) {
                    for event in events { try device.serve(event, &state.queues) }
                } catch {
                    state.isRunning = false
                    lie = error
                }
            }
            waitForHost(state.isRunning && state.queues.waitsForHost, &state)
        }
        if let lie { reportFailure(lie) }
    }

    private func waitForHost(_ waits: Bool, _ state: inout State) {
        guard let descriptor = device.hostDescriptor, waits != state.waitsForHost else { return }
        do {
            if waits {
                try poller.add(descriptor, for: .readable, key: Self.hostKey)
            } else {
                try poller.remove(descriptor)
            }
            state.waitsForHost = waits
        } catch {
            // A descriptor epoll cannot wait for (a file): it is served when the driver notifies.
        }
    }
}
