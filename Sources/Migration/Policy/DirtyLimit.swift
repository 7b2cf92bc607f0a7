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
