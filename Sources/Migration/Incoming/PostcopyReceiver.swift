internal import GuestMemory
internal import MigrationStream
internal import Synchronization

/// The destination of a post-copy: what runs while the guest does, and lacks pages.
///
///     fault thread    waits for faults, asks the source; never touches guest memory, and so never waits for a page
///     page thread     reads the main channel, one for each link
///     urgent thread   reads the preempt channel, if there is one
///
///     listening -> (link ended well) complete
///               -> (link broke) paused -> begin(link) -> listening
///
/// The main thread executes the package meanwhile, then waits here.
final class PostcopyReceiver: Sendable {
    let memory: ReceivedMemory
    let answers: AnswerQueue
    private let missing: any MissingMemory
    private let ledger: FaultLedger
    private let runtime: any MigrationRuntime
    /// The region of each block of the stream's list.
    private let regions: [Int]
    /// How many pages of each region the stream holds.
    private let pageCounts: [Int]
    private let mainLane: PostcopyReceivingLane
    private let urgentLane: PostcopyReceivingLane
    private let changed: any MigrationGate
    /// Open when pages that nobody asked for may be taken in.
    private let mayPush: any MigrationGate
    private let missingCount: Atomic<Int>
    private let zeroCount = Atomic(0)
    private let installedCount = Atomic(0)
    private let state: Mutex<State>
    private let start: Duration
    /// Told that a recovery is over.
    private let onResumed: @Sendable () -> Void

    private struct State {
        var link: Link = .none
        var urgentIsOver = false
        var urgentCount = 0
        var isAbandoned = false
        /// Whether the guest has all it needs to run here, so that a lost link is got over.
        var isReady = false
        var lastPage: Duration?
        var faultThread: (any MigrationThread)?
        var pageThread: (any MigrationThread)?
        var decoder: StreamDecoder
    }

    /// What became of a link.
    enum Link {
        case none
        case open
        case complete
        case lost(any Error)
    }

    // Safe: made by one thread and handed over whole when the next one starts.
    private struct Source: @unchecked Sendable {
        let reader: ChannelReader
    }

    init(
        memory: ReceivedMemory, pageCounts: [Int], missing: any MissingMemory, answers: AnswerQueue, regions: [Int],
        decoder: StreamDecoder, hasUrgentChannel: Bool, runtime: any MigrationRuntime,
        onResumed: @escaping @Sendable () -> Void
    ) throws {
        self.memory = memory
        self.missing = missing
        self.answers = answers
        self.regions = regions
        self.pageCounts = pageCounts
        self.runtime = runtime
        self.onResumed = onResumed
        changed = runtime.makeGate()
        mayPush = runtime.makeGate()
        if !hasUrgentChannel { mayPush.open() }
        start = runtime.now()
        let ledger = FaultLedger(memory: memory, virtualCPUCount: missing.virtualCPUCount, runtime: runtime)
        self.ledger = ledger
        missingCount = Atomic(memory.missingPageCount)
        state = Mutex(State(decoder: decoder))
        // A page is marked as received before its waiters are written off: who begins to wait in between looks again.
        let relay = InstallRelay()
        let onInstalled: @Sendable (Int, PageRange) -> Void = { region, range in
            let newCount = memory.markReceived(region: region, range)
            ledger.end(region: region, range)
            relay.receiver?.installed(newCount)
        }
        let isWanted: @Sendable (Int, PageRange) -> Bool = { ledger.isWanted(region: $0, $1) }
        mainLane = try PostcopyReceivingLane(
            memory: memory, missing: missing, isWanted: isWanted, onInstalled: onInstalled)
        // What is asked for does not wait for more: everything on this lane counts as wanted.
        urgentLane = try PostcopyReceivingLane(
            memory: memory, missing: missing, isWanted: { _, _ in true }, onInstalled: onInstalled)
        relay.receiver = self
    }

    /// Lets the lanes tell the receiver that has them.
    private final class InstallRelay: @unchecked Sendable {
        // Safe: written before any thread is started.
        weak var receiver: PostcopyReceiver?
    }

    private func installed(_ pageCount: Int) {
        installedCount.wrappingAdd(pageCount, ordering: .relaxed)
        if missingCount.wrappingSubtract(pageCount, ordering: .acquiringAndReleasing).newValue <= 0 {
            state.withLock { if $0.lastPage == nil { $0.lastPage = runtime.now() } }
            changed.open()
        }
    }

    var missingPageCount: Int { max(0, missingCount.load(ordering: .acquiring)) }

    /// Registers memory, and reads pages from `reader` on from now on.
    func listen(_ reader: ChannelReader) throws {
        try missing.listen()
        let thread = try runtime.startThread("postcopy-fault") { [self] in serveFaults() }
        state.withLock { $0.faultThread = thread }
        try begin(reader)
    }

    // MARK: Faults

    private func serveFaults() {
        runtime.setUrgency(.urgent)
        do {
            while true {
                let faults = try missing.waitForFaults()
                if faults.isEmpty { return }
                for fault in faults { try serve(fault) }
            }
        } catch {
            // Without faults the guest stands still where it lacks pages; a new link does not change that.
            breakLink(error)
        }
    }

    private func serve(_ fault: MissingPageFault) throws {
        let wait = try fetch(fault)
        // Nothing is written down, and nobody asked who waits, before the page is on its way: that takes time.
        if let wait { ledger.add(wait) { memory.isReceived(region: fault.region, page: fault.page) } }
        let virtualCPU = missing.virtualCPU(of: fault)
        if let wait, let virtualCPU { ledger.add(virtualCPU, to: wait) }
    }

    /// Asks for a page, or puts it into place if it is here; nil if nobody had to wait for it.
    private func fetch(_ fault: MissingPageFault) throws -> FaultLedger.Wait? {
        let unit = missing.unitPageCount(of: fault.region)
        let first = fault.page / unit * unit
        if memory.isReceived(region: fault.region, page: fault.page) {
            try missing.resolve(region: fault.region, page: fault.page)
            return nil
        }
        let wait = ledger.begin(.init(region: fault.region, page: first))
        if memory.isReceived(region: fault.region, page: fault.page) {
            try missing.resolve(region: fault.region, page: fault.page)
            return wait
        }
        for lane in [mainLane, urgentLane] where try lane.installIfStaged(region: fault.region, page: fault.page) {
            return wait
        }
        if wait.isFirst { request(wait.page) }
        return wait
    }

    private func request(_ page: FaultLedger.Page) {
        answers.request(
            region: page.region, block: memory.block(page.region).name,
            range: PageRange(first: PageIndex(page.page), pageCount: missing.unitPageCount(of: page.region)))
    }

    // MARK: Links

    /// Reads pages from a link from now on.
    func begin(_ reader: ChannelReader) throws {
        state.withLock { state in
            state.link = .open
            state.urgentIsOver = false
        }
        let source = Source(reader: reader)
        let thread = try runtime.startThread("postcopy-pages") { [self] in
            runtime.setUrgency(.hurried)
            runtime.keepApart(as: .destination, over: source.reader.channel)
            var failure: (any Error)?
            do { try receive(source.reader) } catch { failure = error }
            endLink(failure.map { .lost($0) } ?? .complete)
        }
        state.withLock { $0.pageThread = thread }
    }

    /// A decoder for the link that replaces this one.
    func prepareRecovery() {
        state.withLock { state in
            state.decoder = state.decoder.recoveryDecoder()
        }
    }

    /// The guest runs, or is not to run yet: now everything may come.
    func admitPushedPages() { mayPush.open() }

    /// How long pushed pages wait for the guest to run.
    private static let pushDelayLimit: Duration = .milliseconds(200)

    private func endLink(_ end: Link) {
        mayPush.open()
        let isHopeless = state.withLock { state in
            guard case .open = state.link else { return false }
            state.link = end
            if case .lost = end { return !state.isReady }
            return false
        }
        changed.open()
        // A device that is being loaded may wait for a page that will not come: it gets zeros, and loading fails.
        if isHopeless { stopWatching() }
    }

    private func stopWatching() {
        missing.endFaults()
        missing.finish()
    }

    /// All devices are loaded. From now on a lost link is got over.
    ///
    /// - Throws: What the link was lost by before.
    func becomeReady() throws {
        try state.withLock { state in
            if case .lost(let error) = state.link { throw error }
            state.isReady = true
        }
    }

    /// The link is of no use any more; whoever reads from it must be ended by its owner.
    func breakLink(_ error: any Error) { endLink(.lost(error)) }

    /// Waits until the link has ended, well or not.
    func waitForEnd() -> (any Error)? {
        while true {
            changed.close()
            switch state.withLock({ $0.link }) {
            case .complete: return nil
            case .lost(let error): return error
            case .none, .open: changed.wait(until: nil)
            }
        }
    }

    /// Waits for the page thread, whose channel has been ended, and writes off parts of huge pages.
    func joinLink() {
        let thread = state.withLock { state in
            defer { state.pageThread = nil }
            return state.pageThread
        }
        thread?.join()
        mainLane.close()
        urgentLane.close()
    }

    /// Everything is here, or nothing will be used: faults are not served any more.
    func end() {
        missing.endFaults()
        let thread = state.withLock { state in
            defer { state.faultThread = nil }
            return state.faultThread
        }
        thread?.join()
        missing.finish()
    }

    /// The guest will not run here: what still comes is thrown away.
    func abandon() {
        state.withLock { $0.isAbandoned = true }
        mayPush.open()
    }

    // MARK: The main channel

    private func receive(_ reader: ChannelReader) throws {
        var decoder = state.withLock { $0.decoder }
        defer { state.withLock { $0.decoder = decoder } }
        let records = GuessedRecords()
        var run: OpenRun?
        while true {
            let step: StreamStep
            do {
                step = try decoder.next(in: reader.unread, ended: reader.hasEnded)
            } catch {
                throw MigrationError.stream(error, address: reader.channel.address)
            }
            switch step {
            case .finished: throw MigrationError.unexpected("an end in the middle of a post-copy")
            case .needsMore(let byteCount):
                // Nothing more has arrived: what has must not wait for it.
                try mainLane.flush()
                if run != nil {
                    do { try reader.channel.waitForBytes() } catch { throw MigrationError.channel(error) }
                    if try receive(&run, records, reader, &decoder) { continue }
                }
                try reader.refill(atLeast: byteCount)
            case .element(let element, let byteCount):
                if state.withLock({ $0.isAbandoned }) {
                    reader.skip(byteCount)
                    if case .endOfStream = element { return }
                    continue
                }
                if try load(element, in: reader.unreadBytes) {
                    reader.skip(byteCount)
                    try mainLane.finish()
                    try waitForUrgentPages()
                    return
                }
                reader.skip(byteCount)
                run = OpenRun(behind: element, mainLane, regions: regions, pageCounts: pageCounts)
                _ = try receive(&run, records, reader, &decoder)
            }
        }
    }

    private func receive(
        _ run: inout OpenRun?, _ records: GuessedRecords, _ reader: ChannelReader, _ decoder: inout StreamDecoder
    ) throws -> Bool {
        // What is thrown away goes through the decoder alone.
        try run?.receive(records, reader, &decoder) { !state.withLock { $0.isAbandoned } } ?? false
    }

    /// Does what an element asks for; whether it was the last.
    private func load(_ element: StreamElement, in bytes: UnsafeRawBufferPointer) throws -> Bool {
        switch element {
        case .pages(let run):
            // With a channel of their own for what is asked for, pushed pages would only take the processors from the
            // guest's start.
            if !mayPush.wait(until: start + Self.pushDelayLimit) { mayPush.open() }
            try add(run, in: bytes, lane: mainLane, region: regions[run.block.index])
        case .section(let header) where header.isRAM: break
        case .footer, .ramEndOfSection, .multifdFlush: break
        case .endOfStream: return true
        case .command(.ping(let value)): answers.send(.pong(value))
        case .command(.receivedBitmap(let name)):
            guard let region = memory.region(named: name) else { throw MigrationError.unknownBlock(name) }
            answers.sendBitmap(memory.receivedBitmap(of: region, pageCount: pageCounts[region]), of: name)
        case .command(.postcopyResume):
            answers.send(.resumeAcknowledged(1))
            onResumed()
            for page in ledger.waiting { request(page) }
        default: throw MigrationError.unexpected("something other than pages in a post-copy")
        }
        return false
    }

    private func add(
        _ run: PageRun, in bytes: UnsafeRawBufferPointer, lane: PostcopyReceivingLane, region: Int
    ) throws {
        switch run.content {
        case .fill(0):
            try lane.addZeros(region: region, offset: run.blockOffset, pageCount: run.pageCount)
            zeroCount.wrappingAdd(run.pageCount, ordering: .relaxed)
        case .fill(let byte): throw MigrationError.unexpected("pages filled with \(byte)")
        case .plain:
            guard let start = bytes.baseAddress else { return }
            try lane.add(
                region: region, offset: run.blockOffset, pageCount: run.pageCount,
                from: start + run.records.lowerBound + run.firstHeaderByteCount, stride: run.recordByteCount)
        }
    }

    // MARK: The preempt channel

    /// How long the end waits for pages on a channel that has not said anything yet.
    private static let urgentLimit: Duration = .seconds(10)

    /// The main channel is at its end; pages that were asked for may still be on the other one.
    private func waitForUrgentPages() throws {
        let deadline = runtime.now() + Self.urgentLimit
        while true {
            changed.close()
            if missingPageCount == 0 { return }
            let (isOver, isOpen) = state.withLock { state in
                if case .open = state.link { return (state.urgentIsOver, true) }
                return (state.urgentIsOver, false)
            }
            if isOver || !isOpen { break }
            if !changed.wait(until: deadline) { break }
        }
        if missingPageCount > 0 {
            throw MigrationError.unexpected("an end while \(missingPageCount) pages are missing")
        }
    }

    /// Receives what was asked for, until the channel ends. `head` are the four bytes that were read already.
    func receiveUrgent(from channel: any MigrationChannel, head: UInt32) {
        runtime.setUrgency(.urgent)
        do {
            let reader = ChannelReader(channel: channel, capacity: 128 << 10)
            reader.append(head)
            try receiveUrgent(reader)
        } catch { endLink(.lost(error)) }
        state.withLock { $0.urgentIsOver = true }
        changed.open()
    }

    private func receiveUrgent(_ reader: ChannelReader) throws {
        var decoder = state.withLock { $0.decoder.preemptDecoder() }
        while true {
            let step: StreamStep
            do {
                step = try decoder.next(in: reader.unread, ended: reader.hasEnded)
            } catch {
                throw MigrationError.stream(error, address: reader.channel.address)
            }
            switch step {
            case .finished: return
            case .needsMore(let byteCount):
                try reader.refill(atLeast: byteCount)
            case .element(.pages(let run), let byteCount):
                try add(run, in: reader.unreadBytes, lane: urgentLane, region: regions[run.block.index])
                reader.skip(byteCount)
            case .element(.ramEndOfSection, _): return
            case .element: throw MigrationError.unexpected("something other than pages on the preempt channel")
            }
        }
    }

    // MARK: Statistics

    var statistics: IncomingPostcopyStatistics {
        var statistics = IncomingPostcopyStatistics()
        statistics.method = missing.method
        ledger.fill(&statistics)
        let zeros = zeroCount.load(ordering: .relaxed)
        statistics.zeroPageCount = zeros
        statistics.installedPageCount = installedCount.load(ordering: .relaxed) - zeros
        statistics.missingPageCount = missingPageCount
        statistics.timeToLastPage = state.withLock { $0.lastPage }.map { $0 - start }
        return statistics
    }
}
