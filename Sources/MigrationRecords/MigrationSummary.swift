public import QMP

/// The figures of a record that a person wants to see first.
public struct MigrationSummary: Equatable, Sendable {
    public var outcome: MigrationRecord.Outcome
    /// As the source says; its own count where it says nothing.
    public var totalTime: Duration
    public var setupTime: Duration?
    public var downtime: Duration?
    public var downtimeParts: DowntimeParts?
    /// From the source's event STOP to the destination's RESUME by their clocks of the day; nil unless both came, in
    /// this order.
    public var stopToResume: Duration?
    /// Passes over the dirty log, the last one with the guest stopped.
    public var passCount: Int
    public var transferredByteCount: UInt64
    public var memoryByteCount: UInt64
    public var zeroPageCount: UInt64
    public var normalPageCount: UInt64
    /// Bytes per second over the whole time.
    public var averageRate: Double
    /// The strongest throttle that was seen, in percent.
    public var highestThrottle: Int?
    public var postcopyRequestCount: UInt64
    public var postcopyBlocktime: Duration?
    /// What an Apus at the source sent in post-copy, and what one at the destination saw of it; nil without.
    public var sentPostcopy: PostcopyInformation?
    public var arrivedPostcopy: PostcopyInformation?

    /// Bytes sent for each byte of memory; nil when the memory's size is not known.
    public var ratio: Double? {
        memoryByteCount == 0 ? nil : Double(transferredByteCount) / Double(memoryByteCount)
    }

    public init(of record: MigrationRecord) {
        outcome = record.outcome
        let infos = record.samples.filter { $0.side == .source }.map(\.info)
        // A failed migration's last answer may tell less than the one before it.
        let last = infos.last
        let memory = infos.last { $0.ram != nil }?.ram ?? RAMStatistics()
        totalTime = last?.totalTime ?? record.duration
        setupTime = infos.last { $0.setupTime != nil }?.setupTime
        downtime = last?.downtime
        downtimeParts = last?.downtimeParts
        // Pass n sends what sync n found, and the last sync that of the stopped guest.
        passCount = max(0, Int(clamping: memory.dirtySyncCount) - (outcome == .completed ? 1 : 0))
        transferredByteCount = memory.transferred
        memoryByteCount = memory.total
        zeroPageCount = memory.duplicate
        normalPageCount = memory.normal
        postcopyRequestCount = memory.postcopyRequests
        highestThrottle = infos.compactMap(\.cpuThrottlePercentage).max()
        let seconds = totalTime / .seconds(1)
        averageRate = seconds > 0 ? Double(memory.transferred) / seconds : 0
        let arrived = record.samples.last { $0.side == .destination }?.info
        postcopyBlocktime = arrived?.postcopyBlocktime
        sentPostcopy = infos.last { $0.postcopy?.pushedPages != nil }?.postcopy
        arrivedPostcopy =
            record.samples.last { $0.side == .destination && $0.info.postcopy?.faults != nil }?.info.postcopy
        stopToResume = Self.stopToResume(record.notices)
    }

    private static func stopToResume(_ notices: [MigrationRecord.Notice]) -> Duration? {
        guard let stop = notices.last(where: { $0.side == .source && $0.event.name == "STOP" }),
            let resume = notices.last(where: { $0.side == .destination && $0.event.name == "RESUME" })
        else { return nil }
        let elapsed = resume.event.timestamp.sinceEpoch - stop.event.timestamp.sinceEpoch
        return elapsed >= .zero ? elapsed : nil
    }
}

extension Event.Timestamp {
    fileprivate var sinceEpoch: Duration { .seconds(seconds) + .microseconds(microseconds) }
}
