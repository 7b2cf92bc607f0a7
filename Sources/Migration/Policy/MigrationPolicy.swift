/// Decides after each pass what comes next: an ending rule, a throttle and a timeout together.
///
/// A value without a clock or a random number in it: the same statistics give the same decisions.
///
///     var policy = MigrationPolicy()
///     switch policy.decide(after: statistics) { case .anotherPass: …
public struct MigrationPolicy: Equatable, Sendable {
    public var ending: EndingPolicy
    public var throttling: ThrottlePolicy
    public var timeout: Timeout?
    /// Bandwidth as the passes so far have shown it.
    public private(set) var bandwidth = BandwidthEstimate()

    /// What happens to a migration that takes too long.
    public struct Timeout: Equatable, Sendable {
        public var limit: Duration
        public var action: Action

        public enum Action: String, Equatable, Sendable {
            /// Stop the guest and send the rest, however long that takes.
            case suspend
            /// End the migration; the guest goes on at the source.
            case cancel
            /// Let the destination run the guest and fetch the rest.
            case postcopy
        }

        public init(limit: Duration, action: Action) {
            self.limit = limit
            self.action = action
        }
    }

    public init(
        ending: EndingPolicy = .downtimeLimit(DowntimeLimitRule()), throttling: ThrottlePolicy = .off,
        timeout: Timeout? = nil
    ) {
        self.ending = ending
        self.throttling = throttling
        self.timeout = timeout
    }

    /// What to do after `pass`.
    ///
    /// A rule that is satisfied wins over the timeout, and the timeout over another pass.
    public mutating func decide(after pass: PassStatistics) -> Decision {
        bandwidth.add(pass)
        let verdict = ending.verdict(after: pass, bandwidth: bandwidth)
        guard verdict == .anotherPass else { return verdict }
        if let interruption = interruption(at: pass.elapsed) { return interruption }
        if isWithinLimit(pass) { return .anotherPass }
        if let throttle = throttling.adjustment(after: pass, bandwidth: bandwidth) { return .throttle(throttle) }
        return .anotherPass
    }

    /// Whether the guest could stop already, and only goes on for a downtime below the limit: no reason to slow it down.
    private func isWithinLimit(_ pass: PassStatistics) -> Bool {
        guard case .downtimeLimit(let rule) = ending, let predicted = expectedDowntime(after: pass) else {
            return false
        }
        return predicted <= rule.limit
    }

    /// Whether not even one pass comes before post-copy.
    public var beginsWithPostcopy: Bool {
        if case .hybrid(let rule) = ending { return rule.passLimit == 0 }
        return false
    }

    /// What the timeout asks for `elapsed` after the start, nil while there is time. To be asked during passes too.
    public func interruption(at elapsed: Duration) -> Decision? {
        guard let timeout, elapsed >= timeout.limit else { return nil }
        switch timeout.action {
        case .suspend: return .switchOver(.timeout)
        case .cancel: return .giveUp(.timeout)
        case .postcopy: return .goPostcopy(.timeout)
        }
    }

    /// Whether a pass that is not over need not go on: so much is left, of what it began with and newly dirtied.
    ///
    /// - Parameter isLimited: Whether a bandwidth limit holds, see `PassStatistics`.
    public mutating func ending(
        remainingByteCount: Int, fixedDowntime: Duration, elapsed: Duration, isLimited: Bool = false
    ) -> Decision? {
        guard case .downtimeLimit(var rule) = ending else { return nil }
        defer { ending = .downtimeLimit(rule) }
        let predicted = rule.predictedDowntime(
            byteCount: remainingByteCount, fixedPart: fixedDowntime, bandwidth: bandwidth)
        guard let predicted, rule.isEnough(predicted, at: elapsed, isLimited: isLimited) else { return nil }
        return .switchOver(.downtimeLimit)
    }

    /// Takes over limits that were changed while the migration runs; what was measured stays.
    public mutating func update(ending: EndingPolicy, throttling: ThrottlePolicy, timeout: Timeout?) {
        self.ending = ending
        self.throttling = throttling
        self.timeout = timeout
    }

    /// The downtime that a switchover after `pass` would have, nil while nothing is known.
    public func expectedDowntime(after pass: PassStatistics) -> Duration? {
        if case .downtimeLimit(let rule) = ending {
            return rule.predictedDowntime(
                byteCount: pass.remainingByteCount, fixedPart: pass.fixedDowntime, bandwidth: bandwidth)
        }
        return bandwidth.predictedDowntime(byteCount: pass.remainingByteCount, fixedPart: pass.fixedDowntime)
    }
}
