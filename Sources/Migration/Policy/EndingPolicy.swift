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
        case .downtimeLimit(let rule):
            return rule.verdict(after: pass, bandwidth: bandwidth)
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

/// The modern rule: stop as soon as the guest would stand still no longer than it may.
public struct DowntimeLimitRule: Equatable, Sendable {
    public var limit: Duration = .milliseconds(300)
    /// Bytes per second to count on in the switchover; nil takes what was measured.
    public var switchoverBandwidth: Int?
    /// After this many passes the guest stops whatever the prediction; nil goes on for ever.
    public var passLimit: Int?

    public init() {}

    func verdict(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> Decision {
        if let predicted = predictedDowntime(after: pass, bandwidth: bandwidth), predicted <= limit {
            return .switchOver(.downtimeLimit)
        }
        // With nothing left another pass cannot shorten the downtime: it is all fixed part.
        if pass.remainingByteCount == 0 { return .switchOver(.fewPagesLeft) }
        if let passLimit, pass.pass >= passLimit { return .switchOver(.passLimit) }
        return .anotherPass
    }

    func predictedDowntime(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> Duration? {
        if let switchoverBandwidth, switchoverBandwidth > 0 {
            return .seconds(Double(pass.remainingByteCount) / Double(switchoverBandwidth)) + pass.fixedDowntime
        }
        return bandwidth.predictedDowntime(byteCount: pass.remainingByteCount, fixedPart: pass.fixedDowntime)
    }
}
