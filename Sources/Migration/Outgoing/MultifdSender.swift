internal import GuestMemory
internal import MigrationStream
internal import Synchronization

/// Numbers packets over all channels.
final class PacketNumbers: Sendable {
    private let number = Atomic<UInt64>(0)

    func next() -> UInt64 { number.wrappingAdd(1, ordering: .relaxed).oldValue }
}

/// Pages of zeros that channels found and the main channel sends.
final class ZeroPageQueue: Sendable {
    private let runs = Mutex<[Run]>([])

    struct Run: Equatable {
        var region: Int
        var first: Int
        var pageCount: Int
    }

    func add(region: Int, first: Int, pageCount: Int) {
        runs.withLock { runs in
            if let last = runs.last, last.region == region, last.first + last.pageCount == first {
                runs[runs.count - 1].pageCount += pageCount
            } else {
                runs.append(Run(region: region, first: first, pageCount: pageCount))
            }
        }
    }

    /// All runs so far, which are forgotten.
    func takeAll() -> [Run] {
        runs.withLock { runs in
            let taken = runs
            runs.removeAll(keepingCapacity: true)
            return taken
        }
    }
}

/// The channel threads of a multifd source.
///
/// Each pass is a row of chunks; every thread takes the next one that nobody has, so each chunk belongs to one channel
/// for the pass, and a slow channel takes fewer. There is no queue of pages. A sync ends the pass on every channel.
final class MultifdSender: Sendable {
    let zeroPages = ZeroPageQueue()
    private let control: OutgoingControl
    private let tracker: DirtyTracker
    private let dialect: StreamDialect
    private let isUncopied: Bool
    private let mayLend: Bool
    private let orders: Mutex<Orders>
    private let sentPages = Atomic(0)
    private let packetNumbers = PacketNumbers()
    private let gates: [any MigrationGate]
    private let threads = Mutex<[any MigrationThread]>([])

    private struct Orders {
        var generation = 0
        var work = Work.sync
        var busyCount = 0
        var isOver = false
    }

    private enum Work {
        case sync
        /// These chunks, and then a sync.
        case pass(ChunkQueue, DirtyTracker.Mode, isLimited: Bool)
    }

    /// - Parameters:
    ///   - isUncopied: Whether pages are sent from guest memory without a copy.
    ///   - mayLend: Whether pages may be lent to a peer on this host. It must say when it has received all, because the
    ///     guest can go on here once this side has done its part.
    init(
        control: OutgoingControl, tracker: DirtyTracker, dialect: StreamDialect, isUncopied: Bool, mayLend: Bool
    ) {
        self.isUncopied = isUncopied
        self.mayLend = mayLend
        self.control = control
        self.tracker = tracker
        self.dialect = dialect
        orders = Mutex(Orders())
        gates = (0..<dialect.channelCount).map { _ in control.runtime.makeGate() }
    }

    /// Opens the channels, says hello on each, and starts their threads.
    func start(connector: any MigrationConnector, uuid: MachineUUID) throws {
        guard connector.canOpenMore else {
            throw MigrationError.channelMismatch(
                "\(connector.address) is a single connection, and \(dialect.channelCount) more are needed.")
        }
        for index in 0..<dialect.channelCount {
            try control.check()
            let channel: any MigrationChannel
            do {
                channel = try connector.open()
                if isUncopied { try channel.enableZeroCopy() }
            } catch { throw MigrationError.channel(error) }
            try control.add(channel)
            let sending: PageSending = isUncopied ? .uncopied : mayLend && channel.enableLending() ? .lent : .copied
            let output = StreamOutput(channel: channel, control: control, isMultifd: true)
            try output.write(byteCount: MultifdHello.byteCount) { writer in
                MultifdHello(uuid: uuid, channel: UInt8(index)).write(into: &writer)
            }
            try output.flush()
            let lane = Lane(
                writer: try MultifdPageWriter(
                    output: output, counters: control.counters, dialect: dialect, zeroPages: zeroPages,
                    packetNumbers: packetNumbers, sending: sending), output: output)
            let thread = try control.runtime.startThread("multifd-send-\(index)") { [self] in
                run(lane, gate: gates[index])
            }
            threads.withLock { $0.append(thread) }
        }
    }

    /// What one thread owns.
    // Safe: made by the main thread and handed over whole when its thread starts.
    private struct Lane: @unchecked Sendable {
        let writer: MultifdPageWriter
        let output: StreamOutput
    }

    /// Sends a sync on every channel, and waits until it is sent.
    func sync() throws { try perform(.sync, poll: {}, interval: nil) }

    /// Sends `chunks` and a sync; `poll` is called about every `interval` until that is done.
    ///
    /// - Returns: How many pages were sent.
    func sendPass(
        _ chunks: ChunkQueue, mode: DirtyTracker.Mode, isLimited: Bool, interval: Duration?, poll: () throws -> Void
    ) throws -> Int {
        sentPages.store(0, ordering: .relaxed)
        try perform(.pass(chunks, mode, isLimited: isLimited), poll: poll, interval: interval)
        return sentPages.load(ordering: .relaxed)
    }

    private func perform(_ work: Work, poll: () throws -> Void, interval: Duration?) throws {
        orders.withLock { orders in
            orders.generation += 1
            orders.work = work
            orders.busyCount = gates.count
        }
        for gate in gates { gate.open() }
        while true {
            let deadline = interval.map { control.runtime.now() + $0 }
            let done: Bool? = try control.wait(until: deadline) {
                orders.withLock { $0.busyCount == 0 } ? true : nil
            }
            if done != nil { return }
            try poll()
        }
    }

    /// Ends the threads. The channels must have been shut down if a thread may be blocked on one.
    func finish() {
        orders.withLock { $0.isOver = true }
        for gate in gates { gate.open() }
        let threads = threads.withLock { threads in
            let all = threads
            threads = []
            return all
        }
        for thread in threads { thread.join() }
    }

    private func run(_ lane: Lane, gate: any MigrationGate) {
        var seen = 0
        var sender = ChunkSender(tracker: tracker, writer: lane.writer, counters: control.counters)
        while true {
            gate.close()
            let orders = orders.withLock { $0 }
            if orders.isOver { return }
            if orders.generation == seen {
                gate.wait(until: nil)
                continue
            }
            seen = orders.generation
            do {
                if case .pass(let chunks, let mode, let isLimited) = orders.work {
                    lane.output.isLimited = isLimited
                    try sendChunks(&sender, chunks, mode: mode)
                }
                try lane.writer.sendSync()
            } catch {
                control.fail(error)
                return
            }
            let isLast = self.orders.withLock { orders in
                orders.busyCount -= 1
                return orders.busyCount == 0
            }
            if isLast { control.changed.open() }
        }
    }

    private func sendChunks(
        _ sender: inout ChunkSender, _ chunks: ChunkQueue, mode: DirtyTracker.Mode
    ) throws {
        var pageCount = 0
        while let chunk = chunks.take() { pageCount += try sender.send(chunk, mode: mode) }
        sentPages.wrappingAdd(pageCount, ordering: .relaxed)
    }
}
