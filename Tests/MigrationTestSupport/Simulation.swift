internal import LinuxSystem
public import Migration
internal import Synchronization

/// Time, threads and waiting made from a seed: a run can be repeated exactly.
///
/// The engine's code runs unchanged on threads of the system, but only one of them at a time: it goes on until it
/// waits, and the seed chooses who is next. Time stands still while anybody can run, and then jumps to the next event.
public final class Simulation: MigrationRuntime, @unchecked Sendable {
    // Safe: everything here is only touched by the thread whose turn it is, and a turn is passed on through a gate.
    public let seed: UInt64
    public var random: SeededGenerator
    public private(set) var clock: Duration = .zero
    /// A fingerprint of who ran when.
    public private(set) var trace: UInt64 = 14_695_981_039_346_656_037
    private var threads: [SimulatedThread] = []
    private var ready: [Int] = []
    private var current = 0
    private var events: [Event] = []
    private var eventCount = 0

    private struct Event {
        var time: Duration
        var number: Int
        var body: () -> Void
    }

    public init(seed: UInt64) {
        self.seed = seed
        random = SeededGenerator(seed: seed)
        // The thread that makes the simulation is its first.
        threads.append(SimulatedThread(index: 0, name: "operator", simulation: self))
    }

    // MARK: MigrationRuntime

    public func now() -> Duration { clock }

    public func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) -> any MigrationThread {
        let thread = SimulatedThread(index: threads.count, name: name, simulation: self)
        threads.append(thread)
        ready.append(thread.index)
        Worker.run { [self] in
            thread.turn.wait()
            thread.turn.close()
            body()
            thread.isOver = true
            wake(thread.key)
            passTurn()
        }
        return thread
    }

    public func makeGate() -> any MigrationGate { SimulatedGate(simulation: self) }

    /// Without effect: any order of threads may happen here anyway.
    public func setUrgency(_ urgency: MigrationUrgency) {}

    // MARK: Waiting

    /// Something that threads can wait for.
    public final class Key: @unchecked Sendable {
        fileprivate var waiting: [Int] = []
        public init() {}
    }

    /// Waits until `key` is woken or the time is `deadline`.
    public func wait(for key: Key, until deadline: Duration? = nil) {
        let thread = threads[current]
        key.waiting.append(thread.index)
        thread.waitsFor = key
        thread.deadline = deadline
        passTurn()
        thread.turn.wait()
        thread.turn.close()
    }

    /// Lets everybody go on who waits for `key`.
    public func wake(_ key: Key) {
        for index in key.waiting { makeReady(threads[index]) }
        key.waiting.removeAll(keepingCapacity: true)
    }

    /// Lets others run, if the seed says so.
    public func mayYield(percent: Int = 30) {
        guard random.happens(percent: percent) else { return }
        ready.append(current)
        let thread = threads[current]
        passTurn()
        thread.turn.wait()
        thread.turn.close()
    }

    /// Does `body` after `delay`, between turns.
    public func after(_ delay: Duration, _ body: @escaping () -> Void) {
        eventCount += 1
        events.append(Event(time: clock + delay, number: eventCount, body: body))
    }

    private func makeReady(_ thread: SimulatedThread) {
        thread.waitsFor = nil
        thread.deadline = nil
        ready.append(thread.index)
    }

    private func passTurn() {
        while true {
            runEvents()
            if !ready.isEmpty { break }
            advance()
        }
        let choice = ready.count == 1 ? 0 : Int.random(in: 0..<ready.count, using: &random)
        let next = ready.remove(at: choice)
        current = next
        trace = (trace ^ UInt64(next)) &* 1_099_511_628_211
        threads[next].turn.open()
    }

    private func runEvents() {
        while let next = nextEvent, events[next].time <= clock {
            let event = events.remove(at: next)
            trace = (trace ^ UInt64(event.number)) &* 1_099_511_628_211
            event.body()
        }
    }

    /// The event that comes first; of several at one time the oldest.
    private var nextEvent: Int? {
        var best: Int?
        var index = 0
        while index < events.count {
            if let found = best {
                let isEarlier =
                    events[index].time < events[found].time
                    || (events[index].time == events[found].time && events[index].number < events[found].number)
                if isEarlier { best = index }
            } else {
                best = index
            }
            index += 1
        }
        return best
    }

    /// Nobody can run: time goes on to what comes next.
    private func advance() {
        var next = nextEvent.map { events[$0].time }
        for thread in threads where thread.waitsFor != nil {
            guard let deadline = thread.deadline else { continue }
            next = next.map { min($0, deadline) } ?? deadline
        }
        guard let next, next < .seconds(60) else {
            let waiting = threads.filter { !$0.isOver && $0.waitsFor != nil }.map(\.name)
            preconditionFailure("seed \(seed): these wait for ever: \(waiting)")
        }
        clock = max(clock, next)
        for thread in threads where thread.waitsFor != nil {
            if let deadline = thread.deadline, deadline <= clock {
                thread.waitsFor?.waiting.removeAll { $0 == thread.index }
                makeReady(thread)
            }
        }
    }

    /// Forgets what was still to happen, so that nothing is kept alive by it.
    public func finish() { events = [] }
}

/// One thread of a simulation.
final class SimulatedThread: MigrationThread, @unchecked Sendable {
    let index: Int
    let name: String
    let turn = Gate()
    let key = Simulation.Key()
    private unowned let simulation: Simulation
    var isOver = false
    var waitsFor: Simulation.Key?
    var deadline: Duration?

    init(index: Int, name: String, simulation: Simulation) {
        self.index = index
        self.name = name
        self.simulation = simulation
    }

    func join() { while !isOver { simulation.wait(for: key) } }
}

final class SimulatedGate: MigrationGate, @unchecked Sendable {
    private let simulation: Simulation
    private let key = Simulation.Key()
    private var isOpen = false

    init(simulation: Simulation) { self.simulation = simulation }

    func open() {
        isOpen = true
        simulation.wake(key)
    }

    func close() { isOpen = false }

    func wait(until deadline: Duration?) -> Bool {
        while !isOpen {
            if let deadline, simulation.clock >= deadline { return false }
            simulation.wait(for: key, until: deadline)
        }
        return true
    }
}

/// A thread of the system that is used again and again: ten thousand simulations need a dozen.
private final class Worker: @unchecked Sendable {
    private static let idle = Mutex<[Worker]>([])
    private let gate = Gate()
    private var job: (() -> Void)?

    static func run(_ job: @escaping () -> Void) {
        let worker = idle.withLock { $0.popLast() } ?? Worker()
        worker.job = job
        worker.gate.open()
    }

    private init() {
        do {
            _ = try BlockingThread(name: "simulated") { [self] in
                while true {
                    gate.wait()
                    gate.close()
                    job?()
                    job = nil
                    Worker.idle.withLock { $0.append(self) }
                }
            }
        } catch {
            preconditionFailure("no thread: \(error)")
        }
    }
}
