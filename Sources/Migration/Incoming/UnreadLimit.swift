/// Keeps short what stands in a link before what is sent next: pages that are on their way already when somebody begins
/// to wait for them.
///
/// At most twice what the link holds at the rate at which is read, so that a faster rate shows, and never less than a few
/// reads, or than what threads read until they are woken. More does not make the transfer faster. The limit is only ever
/// raised: see `MigrationChannel.limitUnreadBytes`.
struct UnreadLimit {
    static let least = 512 << 10
    /// What is shorter than this on its way need not be limited: threads take time to be woken.
    private static let leastTime: Duration = .microseconds(500)
    private static let most = 1 << 30
    private static let period: Duration = .milliseconds(5)
    private var limit = 0
    private var last: (byteCount: Int, time: Duration) = (0, .zero)

    /// - Parameters:
    ///   - byteCount: All that was read so far.
    ///   - roundTrip: Of the link, when nothing stands in the way; nil if nobody knows.
    /// - Returns: The limit, when it is to be set.
    mutating func next(byteCount: Int, at now: Duration, roundTrip: () -> Duration?) -> Int? {
        if limit == 0 {
            last = (byteCount, now)
            limit = Self.least
            return limit
        }
        let elapsed = now - last.time
        guard elapsed >= Self.period, let roundTrip = roundTrip() else { return nil }
        let held = Double(byteCount - last.byteCount) * (max(roundTrip, Self.leastTime) / elapsed)
        last = (byteCount, now)
        let wanted = Int(min(2 * held, Double(Self.most)))
        guard wanted > limit else { return nil }
        limit = wanted
        return limit
    }
}
