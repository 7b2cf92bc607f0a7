/// How fast the link takes bytes, from the passes seen so far.
///
/// Only times in which a channel pushed back say how fast the link is: the estimate follows those, the newest pass
/// weighing as much as all before it. As long as none did, what was sent per second is a lower bound, and the highest
/// one seen is the estimate: the link is at least that fast.
public struct BandwidthEstimate: Equatable, Sendable {
    private var measured: Double?
    private var lowerBound = 0.0

    public init() {}

    /// Takes in a finished pass.
    public mutating func add(_ pass: PassStatistics) {
        if let sample = pass.backPressure.bandwidth { measured = measured.map { ($0 + sample) / 2 } ?? sample }
        let seconds = pass.duration.inSeconds
        if seconds > 0 && pass.sentByteCount >= 64 << 10 {
            lowerBound = max(lowerBound, Double(pass.sentByteCount) / seconds)
        }
    }

    /// Bytes per second, nil while nothing is known.
    public var bytesPerSecond: Double? {
        if let measured { return measured }
        return lowerBound > 0 ? lowerBound : nil
    }

    /// How long the guest would stand still if `byteCount` bytes were left to send now, nil while nothing is known.
    ///
    ///     byteCount / bandwidth + fixed part
    public func predictedDowntime(byteCount: Int, fixedPart: Duration) -> Duration? {
        if byteCount == 0 { return fixedPart }
        guard let bytesPerSecond else { return nil }
        return .seconds(Double(byteCount) / bytesPerSecond) + fixedPart
    }
}
