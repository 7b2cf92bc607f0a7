/// Passes while they pay, then post-copy for the rest.
///
/// With V the bytes left now, V' those that the measured dirty curve predicts after one more pass, and B the
/// bandwidth, the pass costs V/B of total time and saves (V - V')/B of the time in which the guest waits for pages:
///
///     another pass  iff  (V - V') · blockedTimeWeight > V · totalTimeWeight
///
/// or if it would bring the plain switchover within the downtime limit. A prediction of more than 0.9 V twice in a row
/// ends the passes whatever the weights.
public struct HybridRule: Equatable, Sendable {
    /// What a second of the guest waiting for pages is worth.
    public var blockedTimeWeight = 2.0
    /// What a second of total time is worth.
    public var totalTimeWeight = 1.0
    /// Pre-copy ends without post-copy when the downtime would be within this.
    public var downtimeLimit: Duration = .milliseconds(20)
    /// At most this many passes; 1 is one pass over all memory and then post-copy, 0 not even that.
    public var passLimit = 8
    private var curve = DirtyCurve()
    private var stagnantPassCount = 0

    public init() {}

    mutating func verdict(after pass: PassStatistics, bandwidth: BandwidthEstimate) -> Decision {
        curve.add(duration: pass.duration, dirtiedByteCount: pass.dirtiedByteCount)
        if let now = bandwidth.predictedDowntime(byteCount: pass.remainingByteCount, fixedPart: pass.fixedDowntime),
            now <= downtimeLimit
        {
            return .switchOver(.downtimeLimit)
        }
        if pass.pass >= passLimit { return .goPostcopy(.passLimit) }
        guard let bytesPerSecond = bandwidth.bytesPerSecond else { return .anotherPass }
        let remaining = Double(pass.remainingByteCount)
        let next = curve.dirtiedByteCount(in: remaining / bytesPerSecond)
        stagnantPassCount = next > 0.9 * remaining ? stagnantPassCount + 1 : 0
        if stagnantPassCount >= 2 { return .goPostcopy(.notConverging) }
        if .seconds(next / bytesPerSecond) + pass.fixedDowntime <= downtimeLimit { return .anotherPass }
        let pays = (remaining - next) * blockedTimeWeight > remaining * totalTimeWeight
        return pays ? .anotherPass : .goPostcopy(.passDoesNotPay)
    }
}
