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
            do { try serve(lane) } catch { control.fail(error) }
        }
        thread.withLock { $0 = started }
    }

    private func serve(_ lane: Lane) throws {
        while let request = requests.waitForNewest() {
            try control.check()
            let range = PageRange(first: PageIndex(request.first), pageCount: request.pageCount)
            let sent = try lane.lane.send(region: request.region, range)
            try lane.lane.flush()
            control.counters.addRequested(pages: sent)
        }
        try control.check()
        try lane.output.write(byteCount: 8) { StreamEncoder.writeRecord(.endOfSection, into: &$0) }
        try lane.output.flush()
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
