/// How a guest that does not converge is slowed down. Off unless chosen.
public enum ThrottlePolicy: Equatable, Sendable {
    case off
    case stun(StunThrottle)
    case autoConverge(AutoConverge)
    case dirtyLimit(DirtyLimit)

    /// The throttle to set after `pass`, nil to leave it as it is.
    mutating func adjustment(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> GuestThrottle? {
        switch self {
        case .off: return nil
        case .stun(var stun):
            let throttle = stun.adjustment(after: pass)
            self = .stun(stun)
            return throttle
        case .autoConverge(var autoConverge):
            let throttle = autoConverge.adjustment(after: pass, bandwidth: bandwidth)
            self = .autoConverge(autoConverge)
            return throttle
        case .dirtyLimit(var dirtyLimit):
            let throttle = dirtyLimit.adjustment(after: pass, bandwidth: bandwidth)
            self = .dirtyLimit(dirtyLimit)
            return throttle
        }
    }
}

/// Tells when the guest dirties so much that it must be slowed down: QEMU's trigger.
///
/// Periods of more than a second are compared, so that a short last pass is no alarm; the second period in a row of
/// alarms pulls the trigger (QEMU does not ask for "in a row", and neither does this).
public struct DirtyRateTrigger: Equatable, Sendable {
    /// Dirtied bytes of more than this part of the sent bytes are an alarm, in percent.
    public var threshold = 50
    /// Syncs closer together than this are put into one period.
    public var minimumPeriod: Duration = .seconds(1)
    private var periodStart: Duration = .zero
    private var dirtiedByteCount = 0
    private var sentByteCount = 0
    private var alarmCount = 0

    public init() {}

    mutating func isPulled(by pass: PassStatistics) -> Bool {
        dirtiedByteCount += pass.dirtiedByteCount
        sentByteCount += pass.sentByteCount
        guard pass.elapsed - periodStart > minimumPeriod else { return false }
        let isAlarm = Double(dirtiedByteCount) > Double(sentByteCount) * Double(threshold) / 100
        periodStart = pass.elapsed
        dirtiedByteCount = 0
        sentByteCount = 0
        if isAlarm { alarmCount += 1 }
        guard alarmCount >= 2 else { return false }
        alarmCount = 0
        return true
    }
}

/// The classic stun: a virtual CPU that writes to too many clean pages waits for the next scheduling period.
public struct StunThrottle: Equatable, Sendable {
    public var writeFaultLimit = 40
    public var period: Duration = .milliseconds(10)
    /// The stun is set when a pass dirtied more than this part of what it sent, in percent.
    public var threshold = 50
    private var isSet = false

    public init() {}

    mutating func adjustment(after pass: PassStatistics) -> GuestThrottle? {
        // Halving the limit each time that it does not suffice ends at one fault a period: 400 KiB/s a virtual CPU.
        guard pass.pass >= 2 else { return nil }
        guard Double(pass.dirtiedByteCount) > Double(pass.sentByteCount) * Double(threshold) / 100 else { return nil }
        if isSet { writeFaultLimit = max(1, writeFaultLimit / 2) }
        isSet = true
        return .stun(writeFaultLimit: writeFaultLimit, period: period)
    }
}

/// QEMU's auto-converge: all virtual CPUs stand still a growing part of the time.
public struct AutoConverge: Equatable, Sendable {
    public var initial = 20
    public var increment = 10
    public var maximum = 99
    /// Steps shrink near the end, so that the guest is not slowed down more than needed.
    public var hasTailSlow = false
    /// The downtime limit, which says how many dirty bytes are few enough.
    public var downtimeLimit: Duration = .milliseconds(300)
    public var trigger = DirtyRateTrigger()
    private var percentage = 0

    public init() {}

    mutating func adjustment(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> GuestThrottle? {
        guard trigger.isPulled(by: pass) else { return nil }
        let before = percentage
        if percentage == 0 {
            percentage = min(initial, maximum)
        } else {
            percentage = min(percentage + step(after: pass, bandwidth: bandwidth), maximum)
        }
        return percentage == before ? nil : .percentage(percentage)
    }

    /// With tail slow, no more than brings the dirty bytes of a pass down to the switchover threshold.
    private func step(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> Int {
        guard hasTailSlow, pass.dirtiedByteCount > 0, let bytesPerSecond = bandwidth.bytesPerSecond else {
            return increment
        }
        let now = Double(100 - percentage)
        let threshold = bytesPerSecond * downtimeLimit.inSeconds
        let ideal = now * threshold / Double(pass.dirtiedByteCount)
        return max(0, min(increment, Int(now - ideal)))
    }
}
