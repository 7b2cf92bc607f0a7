internal import LinuxSystem
internal import Synchronization

/// How fast one virtual CPU dirties memory; what QMP's `query-vcpu-dirty-limit` tells of it.
public struct VirtualCPUDirtyRate: Equatable, Sendable {
    public let index: Int
    /// Bytes a second.
    public let rate: Int
    /// Bytes a second that it may dirty, nil for no limit.
    public let limit: Int?

    public init(index: Int, rate: Int, limit: Int?) {
        self.index = index
        self.rate = rate
        self.limit = limit
    }
}

/// Turns counts of dirtied pages into rates: those between the last two looks that lay far enough apart.
struct DirtyRateMeter: Sendable {
    /// Looks closer together than this say nothing new.
    static let shortestPeriod: Duration = .milliseconds(200)

    private var time: Duration?
    private var counts: [Int] = []
    /// Bytes a second for each virtual CPU; empty before two looks.
    private(set) var rates: [Int] = []

    mutating func look(at newCounts: [Int], time now: Duration) {
        guard let time, newCounts.count == counts.count, zip(newCounts, counts).allSatisfy(>=) else {
            // The first look, or one after the counts began anew.
            self.time = now
            counts = newCounts
            rates = []
            return
        }
        guard now - time >= Self.shortestPeriod else { return }
        let nanoseconds =
            Double((now - time).components.seconds) * 1e9 + Double((now - time).components.attoseconds) / 1e9
        rates = zip(newCounts, counts).map { Int(Double(($0 - $1) * 4096) * 1e9 / nanoseconds) }
        self.time = now
        counts = newCounts
    }
}
