internal import GuestMemory
internal import MigrationStream
internal import Synchronization

/// Serves requests for pages on a channel of their own: the preempt channel.
///
/// Bare page records, and an end-of-section record at the end. One thread.
final class UrgentSender: Sendable {
    private let control: OutgoingControl
    private let requests: PageRequests
    private let thread = Mutex<(any MigrationThread)?>(nil)

    // Safe: made by the main thread and handed over whole when the thread starts.
    private struct Lane: @unchecked Sendable {
        let output: StreamOutput
        let lane: PostcopySendingLane
    }

    init(control: OutgoingControl, requests: PageRequests) {
        self.control = control
        self.requests = requests
    }

    /// Starts to serve on `channel`.
    func start(_ channel: any MigrationChannel, tracker: DirtyTracker, regions: [MemoryRegion]) throws {
        let output = StreamOutput(channel: channel, control: control, isMultifd: false, arenaByteCount: 64 << 10)
        output.isLimited = false
        let writer = StreamPageWriter(output: output, counters: control.counters, findsZeroPages: true)
        let lane = Lane(
            output: output, lane: PostcopySendingLane(tracker: tracker, writer: writer, regions: regions))
        let started = try control.runtime.startThread("postcopy-urgent") { [self] in
            control.runtime.setUrgent(true)
            do { try serve(lane) } catch { control.fail(error) }
        }
        thread.withLock { $0 = started }
    }

    private func serve(_ lane: Lane) throws {
        while let request = requests.waitForNewest() {
            try control.check()
            let range = PageRange(first: PageIndex(request.first), pageCount: request.pageCount)
            let sent = try lane.lane.send(region: request.region, range)
            // What is only anticipated goes out together.
            if !(request.isAnticipated && requests.onlyAnticipates) { try lane.lane.flush() }
            control.counters.add(pages: sent, sentFor: request)
            if !request.isAnticipated { try sendNeighbours(of: request, lane.lane) }
        }
        try control.check()
        try lane.output.write(byteCount: 8) { StreamEncoder.writeRecord(.endOfSection, into: &$0) }
        try lane.output.flush()
    }

    /// How many pages behind a requested one, and before it, are sent on the same channel.
    static let neighbourCounts = (after: 12, before: 4)
    private static let neighbourStep = 4

    /// Sends what the guest is likely to touch next, before it has to ask, as long as nobody does ask.
    private func sendNeighbours(of request: PageRequests.Request, _ lane: PostcopySendingLane) throws {
        let end = request.first + request.pageCount
        let starts =
            stride(from: end, to: end + Self.neighbourCounts.after, by: Self.neighbourStep)
            + [max(0, request.first - Self.neighbourCounts.before)]
        for start in starts {
            if requests.isWaited { return }
            let range = requests.pages(from: start, pageCount: Self.neighbourStep, of: request.region)
            let sent = try lane.send(region: request.region, range)
            if sent == 0 { continue }
            try lane.flush()
            // They count as pushed, so the push waits the longer for its turn.
            _ = control.postcopyLimiter.reserve(sent * pageSize, at: control.runtime.now())
            control.counters.addPushed(pages: sent)
        }
    }

    /// Waits until everything that was asked for is sent, and the thread has ended.
    func join() {
        let thread = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
    }
}
