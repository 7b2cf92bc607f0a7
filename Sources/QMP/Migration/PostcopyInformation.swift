/// The object `postcopy` of `query-migrate`, an addition of Apus: what post-copy has done so far.
///
/// Times are microseconds on the wire. The source fills the counts of requests, the destination all else.
public struct PostcopyInformation: Equatable, Sendable {
    /// Why the passes ended in post-copy, at the source.
    public var reason: String?
    /// What post-copy will cost with this guest's memory, one sentence; nil if nothing to speak of.
    public var warning: String?
    /// Requests for pages that came, and those of them that were joined with an earlier one.
    public var requests: UInt64?
    public var joinedRequests: UInt64?
    /// Pages sent because they were asked for, and pages sent without.
    public var requestedPages: UInt64?
    public var pushedPages: UInt64?
    /// Pages sent before they were asked for because the guest cannot go on without them.
    public var firstPages: UInt64?
    /// How pages are put into place: "copy", "move" or "continue".
    public var method: String?
    /// Touches of missing pages, and those of them that found somebody waiting already.
    public var faults: UInt64?
    public var joinedFaults: UInt64?
    /// Pages that somebody waits for now.
    public var waitingPages: UInt64?
    /// Pages that have not come.
    public var missingPages: UInt64?
    /// Pages that came with bytes, and pages of zeros.
    public var installedPages: UInt64?
    public var zeroPages: UInt64?
    /// From a fault until its page was there.
    public var latency: Latency?
    /// How many waited less than 1, 2, 4, 8 ... microseconds, and not less than half of that.
    public var latencyCounts: [UInt64]?
    /// The same of each virtual CPU.
    public var virtualCPUs: [Latency]?
    /// How long all virtual CPUs stood still at once.
    public var blocktime: Duration?
    /// From the moment at which the guest could run until the last page was there.
    public var timeToLastPage: Duration?
    /// How often a lost link was replaced.
    public var recoveries: UInt64?

    public init() {}

    /// How long faults took.
    public struct Latency: Equatable, Sendable {
        public var count: UInt64 = 0
        public var median: Duration = .zero
        /// 99 of 100 took no longer.
        public var percentile99: Duration = .zero
        public var maximum: Duration = .zero
        /// All of them added up: how long a virtual CPU stood still.
        public var total: Duration = .zero

        public init() {}

        var value: QMPValue {
            [
                "count": QMPValue(count), "p50": median.inMicroseconds, "p99": percentile99.inMicroseconds,
                "max": maximum.inMicroseconds, "total": total.inMicroseconds,
            ]
        }

        init(reading value: QMPValue) {
            count = value["count"]?.unsignedValue ?? 0
            median = Duration(microseconds: value["p50"]) ?? .zero
            percentile99 = Duration(microseconds: value["p99"]) ?? .zero
            maximum = Duration(microseconds: value["max"]) ?? .zero
            total = Duration(microseconds: value["total"]) ?? .zero
        }
    }

    private static let counts: [(name: String, field: any WritableKeyPath<PostcopyInformation, UInt64?> & Sendable)] = [
        ("requests", \.requests), ("joined-requests", \.joinedRequests), ("requested-pages", \.requestedPages),
        ("pushed-pages", \.pushedPages), ("first-pages", \.firstPages), ("faults", \.faults),
        ("joined-faults", \.joinedFaults), ("waiting-pages", \.waitingPages), ("missing-pages", \.missingPages),
        ("installed-pages", \.installedPages), ("zero-pages", \.zeroPages), ("recoveries", \.recoveries),
    ]

    public var value: QMPValue {
        var object = QMPObject()
        for (name, field) in Self.counts { object[name] = self[keyPath: field].map { QMPValue($0) } }
        object["reason"] = reason.map { QMPValue($0) }
        object["warning"] = warning.map { QMPValue($0) }
        object["method"] = method.map { QMPValue($0) }
        object["latency"] = latency?.value
        object["latency-counts"] = latencyCounts.map { .array($0.map { QMPValue($0) }) }
        object["vcpus"] = virtualCPUs.map { .array($0.map(\.value)) }
        object["blocktime"] = blocktime?.inMicroseconds
        object["time-to-last-page"] = timeToLastPage?.inMicroseconds
        return .object(object)
    }

    /// Reads what a monitor answered; what is absent stays nil.
    public init(reading value: QMPValue) {
        for (name, field) in Self.counts { self[keyPath: field] = value[name]?.unsignedValue }
        reason = value["reason"]?.stringValue
        warning = value["warning"]?.stringValue
        method = value["method"]?.stringValue
        latency = value["latency"].map(Latency.init)
        latencyCounts = value["latency-counts"]?.arrayValue?.compactMap(\.unsignedValue)
        virtualCPUs = value["vcpus"]?.arrayValue?.map(Latency.init)
        blocktime = Duration(microseconds: value["blocktime"])
        timeToLastPage = Duration(microseconds: value["time-to-last-page"])
    }
}
