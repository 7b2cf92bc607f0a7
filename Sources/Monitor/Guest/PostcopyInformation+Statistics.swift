internal import Migration
internal import QMP

/// What the engine tells of a post-copy in QMP's words.
extension PostcopyInformation {
    init(_ statistics: MigrationStatistics) {
        self.init()
        reason = statistics.postcopyReason?.rawValue
        warning = statistics.postcopy.warning
        requests = UInt64(statistics.postcopy.requestCount)
        joinedRequests = UInt64(statistics.postcopy.joinedRequestCount)
        requestedPages = UInt64(statistics.postcopy.requestedPageCount)
        pushedPages = UInt64(statistics.postcopy.pushedPageCount)
        firstPages = UInt64(statistics.postcopy.firstPageCount)
        recoveries = UInt64(statistics.recoveryCount)
    }

    init(_ statistics: IncomingPostcopyStatistics, recoveryCount: Int) {
        self.init()
        method = statistics.method.rawValue
        faults = UInt64(statistics.faultCount)
        joinedFaults = UInt64(statistics.joinedFaultCount)
        waitingPages = UInt64(statistics.waitingPageCount)
        missingPages = UInt64(statistics.missingPageCount)
        installedPages = UInt64(max(0, statistics.installedPageCount))
        zeroPages = UInt64(statistics.zeroPageCount)
        latency = Latency(statistics.latencies)
        latencyCounts = statistics.latencies.countsByMicroseconds.map { UInt64($0) }
        virtualCPUs = statistics.virtualCPULatencies.map(Latency.init)
        blocktime = statistics.blocktime
        timeToLastPage = statistics.timeToLastPage
        recoveries = UInt64(recoveryCount)
    }
}

extension PostcopyInformation.Latency {
    fileprivate init(_ histogram: LatencyHistogram) {
        self.init()
        count = UInt64(histogram.count)
        median = histogram.quantile(0.5) ?? .zero
        percentile99 = histogram.quantile(0.99) ?? .zero
        maximum = histogram.maximum
        total = histogram.total
    }
}

extension MigrationInfo {
    /// What the destination of a post-copy tells.
    mutating func fill(from statistics: IncomingStatistics, showsBlocktime: Bool) {
        if let error = statistics.linkError { errorDescription = error }
        guard let postcopy = statistics.postcopy else { return }
        self.postcopy = PostcopyInformation(postcopy, recoveryCount: statistics.recoveryCount)
        guard showsBlocktime else { return }
        postcopyBlocktime = postcopy.blocktime
        postcopyVirtualCPUBlocktimes = postcopy.virtualCPULatencies.map(\.total)
    }
}
