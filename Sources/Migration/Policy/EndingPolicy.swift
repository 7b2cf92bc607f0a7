/// When pre-copy ends: three rules over the same statistics.
public enum EndingPolicy: Equatable, Sendable {
    case classic(ClassicRule)
    case downtimeLimit(DowntimeLimitRule)
    case hybrid(HybridRule)

    /// What this rule says after `pass`, without regard to throttles and timeouts.
    mutating func verdict(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> Decision {
        switch self {
        case .classic(let rule):
            return rule.verdict(after: pass)
        case .downtimeLimit(var rule):
            let verdict = rule.verdict(after: pass, bandwidth: bandwidth)
            self = .downtimeLimit(rule)
            return verdict
        case .hybrid(var rule):
            let verdict = rule.verdict(after: pass, bandwidth: bandwidth)
            self = .hybrid(rule)
            return verdict
        }
    }
}

/// The rule of KVM's first years: it looks at pages and passes only, and always ends.
public struct ClassicRule: Equatable, Sendable {
    /// With this many dirty pages or fewer, the guest stops.
    public var pageLimit = 50
    /// After this many passes, the guest stops.
    public var passLimit = 30

    public init() {}

    func verdict(after pass: PassStatistics) -> Decision {
        if pass.remainingPageCount <= pageLimit { return .switchOver(.fewPagesLeft) }
        if pass.sentPageCount < pass.dirtiedPageCount { return .switchOver(.notConverging) }
        if pass.pass >= passLimit { return .switchOver(.passLimit) }
        return .anotherPass
    }
}

/// The modern rule: stop when the guest would stand still no longer than it may.
///
/// A limit is no goal. Once the downtime would be within it, passes go on until it would be half of it, as long as they
/// leave less than they find, and for at most a tenth of the time that it took to get there. Where a bandwidth limit holds
/// nothing is gained by that: what is left goes without the limit while the guest still runs.
public struct DowntimeLimitRule: Equatable, Sendable {
    public var limit: Duration = .milliseconds(300)
    /// Bytes per second to count on in the switchover; nil takes what was measured.
    public var switchoverBandwidth: Int?
    /// After this many passes the guest stops whatever the prediction; nil goes on for ever.
    public var passLimit: Int?
    /// The part of the time so far that may be spent on a downtime below the limit; 0 stops at the limit.
    public var patience = 0.1
    /// When the downtime would have been within the limit for the first time.
    private var limitReached: Duration?

    public init() {}

    mutating func verdict(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> Decision {
        let predicted = predictedDowntime(
            byteCount: pass.remainingByteCount, fixedPart: pass.fixedDowntime, bandwidth: bandwidth)
        if let predicted, predicted <= limit {
            let shrinks = pass.dirtiedPageCount * 10 < pass.sentPageCount * 9
            if !shrinks || isEnough(predicted, at: pass.elapsed, isLimited: pass.isLimited) {
                return .switchOver(.downtimeLimit)
            }
        }
        // With nothing left another pass cannot shorten the downtime: it is all fixed part.
        if pass.remainingByteCount == 0 { return .switchOver(.fewPagesLeft) }
        if let passLimit, pass.pass >= passLimit { return .switchOver(.passLimit) }
        return .anotherPass
    }

    /// Whether a downtime that is `predicted` now is worth no more of the guest's patience.
    mutating func isEnough(_ predicted: Duration, at elapsed: Duration, isLimited: Bool) -> Bool {
        guard predicted <= limit else { return false }
        if isLimited { return true }
        let reached = limitReached ?? elapsed
        limitReached = reached
        return predicted <= limit / 2 || elapsed >= reached + reached * patience
    }

    /// How long the guest would stand still with so many bytes left.
    func predictedDowntime(byteCount: Int, fixedPart: Duration, bandwidth: BandwidthEstimate) -> Duration? {
        if let switchoverBandwidth, switchoverBandwidth > 0 {
            return .seconds(Double(byteCount) / Double(switchoverBandwidth)) + fixedPart
        }
        return bandwidth.predictedDowntime(byteCount: byteCount, fixedPart: fixedPart)
    }
}
