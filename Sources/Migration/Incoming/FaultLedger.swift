internal import GuestMemory
internal import Synchronization

/// Who waits for which page, since when, and how long it took.
///
/// The fault thread writes down who begins to wait, the threads that install pages who is done.
final class FaultLedger: Sendable {
    /// Pages that somebody waits for, of each region: looked at for every range that is installed.
    private let wanted: [DirtyBitmap]
    private let runtime: any MigrationRuntime
    private let state: Mutex<State>

    struct Page: Hashable {
        var region: Int
        var page: Int
    }

    private struct State {
        var waiting: [Page: Waiters] = [:]
        var virtualCPUs: [VirtualCPU]
        var latencies = LatencyHistogram()
        var faultCount = 0
        var joinedCount = 0
        var blockedCount = 0
        var allBlockedSince: Duration?
        var allBlockedTime: Duration = .zero
    }

    private struct Waiters {
        var since: Duration
        var virtualCPUs: Set<Int> = []
    }

    private struct VirtualCPU {
        var blockedSince: Duration?
        var latencies = LatencyHistogram()
    }

    init(memory: ReceivedMemory, virtualCPUCount: Int, runtime: any MigrationRuntime) {
        wanted = (0..<memory.count).map { DirtyBitmap(pageCount: memory.block($0).pageCount) }
        self.runtime = runtime
        state = Mutex(State(virtualCPUs: Array(repeating: VirtualCPU(), count: virtualCPUCount)))
    }

    /// Somebody who waits.
    struct Wait {
        var page: Page
        var since: Duration
        /// Whether nobody waited for the page before.
        var isFirst: Bool
    }

    /// Somebody waits for `page`, the first one of its unit: whoever installs it sees so from now on.
    func begin(_ page: Page) -> Wait {
        Wait(page: page, since: runtime.now(), isFirst: wanted[page.region].markFirst(PageIndex(page.page)))
    }

    /// Writes down a wait that has begun, after what could not wait for that; `isOver` says whether the page is there.
    func add(_ wait: Wait, isOver: () -> Bool) {
        state.withLock { state in
            state.faultCount += 1
            if state.waiting[wait.page] == nil {
                state.waiting[wait.page] = Waiters(since: wait.since)
            } else {
                state.joinedCount += 1
            }
        }
        // Whoever installed it before there was an entry has found none.
        if isOver() { end(wait.page) }
    }

    /// It is this virtual CPU that waits, or has waited: the page may be there by now.
    func add(_ virtualCPU: Int, to wait: Wait) {
        let now = runtime.now()
        state.withLock { state in
            guard virtualCPU < state.virtualCPUs.count, state.virtualCPUs[virtualCPU].blockedSince == nil else {
                return
            }
            guard state.waiting[wait.page]?.virtualCPUs.insert(virtualCPU) != nil else {
                state.virtualCPUs[virtualCPU].latencies.add(now - wait.since)
                return
            }
            state.virtualCPUs[virtualCPU].blockedSince = wait.since
            state.blockedCount += 1
            if state.blockedCount == state.virtualCPUs.count {
                state.allBlockedSince = state.virtualCPUs.compactMap(\.blockedSince).max()
            }
        }
    }

    /// Whether somebody waits for one of these pages.
    func isWanted(region: Int, _ range: PageRange) -> Bool { wanted[region].count(in: range) > 0 }

    /// These pages are in place.
    func end(region: Int, _ range: PageRange) {
        var rest = range
        while let run = wanted[region].firstRun(in: rest, limit: 1) {
            end(Page(region: region, page: run.first.value))
            rest = PageRange(first: run.end, pageCount: range.end.value - run.end.value)
        }
    }

    private func end(_ page: Page) {
        let now = runtime.now()
        wanted[page.region].clear(PageRange(first: PageIndex(page.page), pageCount: 1))
        state.withLock { state in
            guard let waiters = state.waiting.removeValue(forKey: page) else { return }
            state.latencies.add(now - waiters.since)
            if !waiters.virtualCPUs.isEmpty, let since = state.allBlockedSince {
                state.allBlockedTime += now - since
                state.allBlockedSince = nil
            }
            for index in waiters.virtualCPUs {
                guard let since = state.virtualCPUs[index].blockedSince else { continue }
                state.virtualCPUs[index].latencies.add(now - since)
                state.virtualCPUs[index].blockedSince = nil
                state.blockedCount -= 1
            }
        }
    }

    /// What is waited for: to be asked for again on a new link.
    var waiting: [Page] {
        state.withLock { $0.waiting.keys.sorted { ($0.region, $0.page) < ($1.region, $1.page) } }
    }

    func fill(_ statistics: inout IncomingPostcopyStatistics) {
        state.withLock { state in
            statistics.faultCount = state.faultCount
            statistics.joinedFaultCount = state.joinedCount
            statistics.waitingPageCount = state.waiting.count
            statistics.latencies = state.latencies
            statistics.virtualCPULatencies = state.virtualCPUs.map(\.latencies)
            statistics.blocktime = state.allBlockedTime
        }
    }
}

/// What post-copy has done at the destination.
public struct IncomingPostcopyStatistics: Equatable, Sendable {
    /// How pages are put into place.
    public var method = InstallMethod.copy
    /// Touches of missing pages that were told of.
    public var faultCount = 0
    /// Of these, touches of pages that somebody waited for already.
    public var joinedFaultCount = 0
    /// Pages that somebody waits for now.
    public var waitingPageCount = 0
    /// From the moment at which a fault was seen until its page was there.
    public var latencies = LatencyHistogram()
    /// The same for each virtual CPU; its total is how long it stood still.
    public var virtualCPULatencies: [LatencyHistogram] = []
    /// How long all virtual CPUs stood still at once.
    public var blocktime: Duration = .zero
    /// Pages that came with bytes, and pages of zeros, since the guest could run here.
    public var installedPageCount = 0
    public var zeroPageCount = 0
    /// Pages that are missing.
    public var missingPageCount = 0
    /// From the moment at which the guest could run here until the last page was there; nil before that.
    public var timeToLastPage: Duration?

    public init() {}
}
