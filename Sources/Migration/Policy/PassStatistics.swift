/// What one pass sent, what the guest dirtied meanwhile, and what is left: all that a policy gets to see.
///
/// Pure values, so that a recorded series can be given to any policy again.
public struct PassStatistics: Equatable, Sendable {
    /// The number of the pass, from 1. The first one sends all memory.
    public var pass: Int
    /// How long the pass took.
    public var duration: Duration
    /// Time since the migration began, at the end of the pass.
    public var elapsed: Duration
    /// Pages sent in the pass, zero pages included.
    public var sentPageCount: Int
    /// Bytes given to the channels in the pass.
    public var sentByteCount: Int
    /// Pages that became dirty while the pass ran, as the sync at its end found them.
    public var dirtiedPageCount: Int
    /// Bytes that would have to be sent if the guest stopped now: dirty memory, and dirty parts of disks.
    public var remainingByteCount: Int
    /// When and how fast the channels took bytes while they pushed back.
    public var backPressure: BackPressure
    /// The parts of a downtime that do not depend on the bytes left, as far as they are known.
    public var fixedDowntime: Duration
    /// How many pages each virtual CPU dirtied in the pass; empty when nobody counts.
    public var dirtiedPageCounts: [Int]
    /// Whether a bandwidth limit holds, which is lifted as soon as the guest is to stop.
    public var isLimited: Bool

    public init(
        pass: Int, duration: Duration, elapsed: Duration, sentPageCount: Int, sentByteCount: Int,
        dirtiedPageCount: Int, remainingByteCount: Int, backPressure: BackPressure = BackPressure(),
        fixedDowntime: Duration = .zero, dirtiedPageCounts: [Int] = [], isLimited: Bool = false
    ) {
        self.pass = pass
        self.duration = duration
        self.elapsed = elapsed
        self.sentPageCount = sentPageCount
        self.sentByteCount = sentByteCount
        self.dirtiedPageCount = dirtiedPageCount
        self.remainingByteCount = remainingByteCount
        self.backPressure = backPressure
        self.fixedDowntime = fixedDowntime
        self.dirtiedPageCounts = dirtiedPageCounts
        self.isLimited = isLimited
    }

    /// Pages of memory and of disks alike count in pages of this many bytes.
    public static let pageByteCount = 4096

    var remainingPageCount: Int { (remainingByteCount + Self.pageByteCount - 1) / Self.pageByteCount }
    var dirtiedByteCount: Int { dirtiedPageCount * Self.pageByteCount }
}

/// Bytes that channels took while they pushed back, and how long that was.
///
/// From the moment that a channel's buffer is full until the send that found it full is over, the channel takes bytes
/// just as fast as the link carries them away. Any other time tells how fast the sender was, not the link.
public struct BackPressure: Equatable, Sendable {
    public var byteCount: Int
    /// The time in which they were taken; of several channels, the sum.
    public var duration: Duration
    /// How many channels this is the sum of.
    public var channelCount: Int

    public init(byteCount: Int = 0, duration: Duration = .zero, channelCount: Int = 1) {
        self.byteCount = byteCount
        self.duration = duration
        self.channelCount = channelCount
    }

    /// Bytes per second of all channels together, nil when they pushed back too little to tell.
    public var bandwidth: Double? {
        guard duration >= .microseconds(500), byteCount >= 64 << 10, channelCount > 0 else { return nil }
        return Double(byteCount) / duration.inSeconds * Double(channelCount)
    }
}

extension Duration {
    /// This many seconds.
    var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}
