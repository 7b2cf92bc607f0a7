/// How many bytes may be on their way to a reader, or wait for it: what the link holds at the rate at which they are
/// read, twice over, so that a faster rate shows, and never less than a few reads.
///
/// More does not make the transfer faster; it only stands before what is sent next.
struct UnreadLimit {
    static let least = 512 << 10
    private static let most = 1 << 30
    private static let period: Duration = .milliseconds(5)
    private var last: (byteCount: Int, time: Duration)?

    /// - Parameters:
    ///   - byteCount: All that was read so far.
    ///   - roundTrip: Of the link, when nothing stands in the way; nil if nobody knows.
    /// - Returns: The limit, when it is time to set it.
    mutating func next(byteCount: Int, at now: Duration, roundTrip: () -> Duration?) -> Int? {
        guard let last else {
            last = (byteCount, now)
            return Self.least
        }
        let elapsed = now - last.time
        guard elapsed >= Self.period, let roundTrip = roundTrip() else { return nil }
        self.last = (byteCount, now)
        let held = Double(byteCount - last.byteCount) * (roundTrip / elapsed)
        return max(Self.least, Int(min(2 * held, Double(Self.most))))
    }
}
