internal import GuestMemory
internal import MigrationStream
internal import Synchronization

/// Serves requests for pages on a channel of their own: the preempt channel.
///
/// Bare page records, and an end-of-section record at the end. A request is served by the thread that receives it, if
/// nobody sends on the channel just then: each hand-over to another thread is time that the guest waits. Else, and for
/// what nobody has asked for yet, there is a thread.
final class UrgentSender: Sendable {
    private let control: OutgoingControl
    private let requests: PageRequests
    private let thread = Mutex<(any MigrationThread)?>(nil)
    /// Nobody waits for this lock: the thread that does not get it is woken when the other is done.
    private let lane = Mutex<Lane?>(nil)

    // Safe: used by one thread at a time, under the lock.
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
        let new = Lane(
            output: output, lane: PostcopySendingLane(tracker: tracker, writer: writer, regions: regions))
        lane.withLock { $0 = new }
        let started = try control.runtime.startThread("postcopy-urgent") { [self] in
            control.runtime.setUrgency(.urgent)
            do { try serve() } catch { control.fail(error) }
        }
        thread.withLock { $0 = started }
        requests.setServer { [weak self] in self?.serveNewest() }
    }

    /// Does something with the lane if nobody else does; whether it was done.
    private func withLane(_ body: (Lane) throws -> Void) throws -> Bool {
        try lane.withLockIfAvailable { lane in
            if let lane { try body(lane) }
            return true
        } ?? false
    }

    // MARK: On the thread that receives requests

    /// Only one: another may come meanwhile, and then that is the newest.
    private func serveNewest() {
        do {
            _ = try withLane { lane in
                guard let request = requests.takeWaiting() else { return }
                try send(request, lane)
            }
        } catch { control.fail(error) }
        // For other requests, and if it waits for the lane.
        requests.wakeUrgent()
    }

    // MARK: On a thread of its own

    private func serve() throws {
        while let request = requests.waitForRequest() {
            try wait { try send(request, $0) }
        }
        try wait { lane in
            try control.check()
            try lane.output.write(byteCount: 8) { StreamEncoder.writeRecord(.endOfSection, into: &$0) }
            try lane.output.flush()
        }
    }

    /// Does something with the lane as soon as nobody else does.
    private func wait(_ body: (Lane) throws -> Void) throws {
        try requests.retryWhenWoken { try withLane(body) }
    }

    private func send(_ request: PageRequests.Request, _ lane: Lane) throws {
        try control.check()
        let range = PageRange(first: PageIndex(request.first), pageCount: request.pageCount)
        let sent = try lane.lane.send(region: request.region, range)
        // What is only anticipated goes out together.
        if !(request.isAnticipated && requests.onlyAnticipates) { try lane.lane.flush() }
        control.counters.add(pages: sent, sentFor: request)
    }

    /// Waits until everything that was asked for is sent, and the thread has ended.
    func join() {
        requests.setServer(nil)
        let thread = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
    }
}
