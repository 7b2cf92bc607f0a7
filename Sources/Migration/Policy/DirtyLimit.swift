/// A dirty rate for each virtual CPU: who dirties much is slowed down, who only reads is not.
public struct DirtyLimit: Equatable, Sendable {
    /// Bytes per second that a virtual CPU may dirty; nil divides what the link can take among those that dirty.
    public var bytesPerSecond: Int? = 1 << 20
    /// The part of the bandwidth that all virtual CPUs together may dirty when `bytesPerSecond` is nil.
    public var bandwidthShare = 0.7
    public var trigger = DirtyRateTrigger()
    private var isSet = false

    public init() {}

    mutating func adjustment(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> GuestThrottle? {
        if !isSet {
            guard trigger.isPulled(by: pass) else { return nil }
            isSet = true
        }
        guard let quota = quota(after: pass, bandwidth: bandwidth) else { return nil }
        let seconds = pass.duration.inSeconds
        let limits = pass.dirtiedPageCounts.map { count in
            // Only those above the quota pay for it.
            let rate = seconds > 0 ? Double(count * PassStatistics.pageByteCount) / seconds : 0
            return bytesPerSecond != nil || rate > Double(quota) / 2 ? quota : nil
        }
        return .dirtyLimit(limits)
    }

    private func quota(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> Int? {
        if let bytesPerSecond { return bytesPerSecond }
        guard let available = bandwidth.bytesPerSecond else { return nil }
        let fair = available * bandwidthShare / Double(max(1, pass.dirtiedPageCounts.count))
        let active = pass.dirtiedPageCounts.count { Double($0 * PassStatistics.pageByteCount) > 0.01 * fair }
        return max(PassStatistics.pageByteCount, Int(available * bandwidthShare / Double(max(1, active))))
    }
}

/// Finds how long a virtual CPU must sleep each time that its dirty ring is full, so that it keeps its quota.
///
/// One value for each virtual CPU, fed once a period with the rate it had. Close to the quota nothing changes; far from
/// it the sleep is computed, near it it moves in steps of a tenth of the time that the ring takes to fill.
public struct DirtyRingPace: Equatable, Sendable {
    /// Bytes per second to keep.
    public var quota: Int
    /// Pages that the ring holds.
    public let ringPageCount: Int
    /// Rates this close to the quota are left alone, in bytes per second.
    public var tolerance = 25 << 20
    /// How long to sleep each time that the ring is full.
    public private(set) var sleep: Duration = .zero
    private var highestRate = 1

    public init(quota: Int, ringPageCount: Int) {
        precondition(quota > 0 && ringPageCount > 0, "quota \(quota), ring of \(ringPageCount) pages")
        self.quota = quota
        self.ringPageCount = ringPageCount
        // A quota smaller than the tolerance must still be kept.
        tolerance = min(tolerance, quota / 4)
    }

    /// How long the ring takes to fill at the highest rate that was seen.
    public var ringFullTime: Duration {
        .seconds(Double(ringPageCount * PassStatistics.pageByteCount) / Double(highestRate))
    }

    /// Takes in the rate of the last period, in bytes per second, and adjusts `sleep`.
    public mutating func adjust(to rate: Int) {
        highestRate = max(highestRate, rate)
        let difference = abs(quota - rate)
        if difference <= tolerance { return }
        let full = ringFullTime
        let larger = max(quota, rate)
        if difference * 2 > larger {
            let percent = min(99.0, Double(difference) * 100 / Double(larger))
            let change = Duration.seconds(full.inSeconds * percent / (100 - percent))
            sleep = rate > quota ? sleep + change : sleep - change
        } else {
            // A step of the sleep's own size as well, else one that is many rings long takes minutes to correct.
            let step = max(full, sleep) / 10
            sleep = rate > quota ? sleep + step : sleep - step
        }
        // QEMU's bound is 99 times the time the ring takes to fill; a fast writer with a small quota needs more.
        let needed = Duration.seconds(Double(ringPageCount * PassStatistics.pageByteCount) / Double(quota))
        sleep = min(max(sleep, .zero), max(full * 99, needed))
    }
}
