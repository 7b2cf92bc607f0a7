/// The answer to `query-migrate`. What is nil does not apply and is absent on the wire.
public struct MigrationInfo: Equatable, Sendable {
    public var status: MigrationStatus?
    public var ram: RAMStatistics?
    public var xbzrleCache: XBZRLECacheStatistics?
    public var totalTime: Duration?
    /// Once completed.
    public var downtime: Duration?
    /// While active.
    public var expectedDowntime: Duration?
    public var setupTime: Duration?
    /// Only while virtual CPUs are throttled.
    public var cpuThrottlePercentage: Int?
    public var errorDescription: String?
    public var blockedReasons: [String]?
    public var postcopyBlocktime: Duration?
    public var postcopyVirtualCPUBlocktimes: [Duration]?
    /// Where the destination listens, with real port numbers.
    public var socketAddresses: [QMPValue]?
    public var dirtyLimitThrottleTimePerRound: Duration?
    public var dirtyLimitRingFullTime: Duration?
    /// While the guest is stunned: how long the virtual CPU that was held most was held in the last pass. The member
    /// `stun-time-per-round` in microseconds, an addition of Apus.
    public var stunTimePerRound: Duration?
    /// The parts of the downtime; an addition of Apus.
    public var downtimeParts: DowntimeParts?
    /// With status failed: everything was sent and no answer came, so the destination may run the guest, and a person
    /// must decide (`cont` or `quit`). The member `hand-over`, an addition of Apus.
    public var handOverIsUnknown = false

    /// What post-copy has done; an addition of Apus.
    public var postcopy: PostcopyInformation?

    public init(status: MigrationStatus? = nil) { self.status = status }

    /// An empty object before the first migration.
    public var value: QMPValue {
        var object = QMPObject()
        object["status"] = status.map { .string($0.rawValue) }
        object["total-time"] = totalTime?.inMilliseconds
        object["downtime"] = downtime?.inMilliseconds
        object["expected-downtime"] = expectedDowntime?.inMilliseconds
        object["setup-time"] = setupTime?.inMilliseconds
        object["ram"] = ram?.value
        object["xbzrle-cache"] = xbzrleCache?.value
        object["cpu-throttle-percentage"] = cpuThrottlePercentage.map { QMPValue($0) }
        object["error-desc"] = errorDescription.map { QMPValue($0) }
        object["blocked-reasons"] = blockedReasons.map { .array($0.map { QMPValue($0) }) }
        object["postcopy-blocktime"] = postcopyBlocktime?.inMilliseconds
        object["postcopy-vcpu-blocktime"] = postcopyVirtualCPUBlocktimes.map { .array($0.map(\.inMilliseconds)) }
        object["socket-address"] = socketAddresses.map(QMPValue.array)
        object["dirty-limit-throttle-time-per-round"] = dirtyLimitThrottleTimePerRound?.inMicroseconds
        object["dirty-limit-ring-full-time"] = dirtyLimitRingFullTime?.inMicroseconds
        object["stun-time-per-round"] = stunTimePerRound?.inMicroseconds
        object["downtime-parts"] = downtimeParts?.value
        object["postcopy"] = postcopy?.value
        if handOverIsUnknown { object["hand-over"] = "unknown" }
        return .object(object)
    }

    /// Reads what a monitor answered. Unknown members are passed over, a word that is not known leaves its field nil.
    public init(reading value: QMPValue) {
        status = value["status"]?.stringValue.flatMap(MigrationStatus.init)
        ram = value["ram"].map(RAMStatistics.init)
        xbzrleCache = value["xbzrle-cache"].map(XBZRLECacheStatistics.init)
        totalTime = Duration(milliseconds: value["total-time"])
        downtime = Duration(milliseconds: value["downtime"])
        expectedDowntime = Duration(milliseconds: value["expected-downtime"])
        setupTime = Duration(milliseconds: value["setup-time"])
        cpuThrottlePercentage = value["cpu-throttle-percentage"]?.integerValue.map { Int($0) }
        errorDescription = value["error-desc"]?.stringValue
        blockedReasons = value["blocked-reasons"]?.arrayValue?.compactMap(\.stringValue)
        postcopyBlocktime = Duration(milliseconds: value["postcopy-blocktime"])
        postcopyVirtualCPUBlocktimes = value["postcopy-vcpu-blocktime"]?.arrayValue?
            .compactMap { Duration(milliseconds: $0) }
        socketAddresses = value["socket-address"]?.arrayValue
        dirtyLimitThrottleTimePerRound = Duration(microseconds: value["dirty-limit-throttle-time-per-round"])
        dirtyLimitRingFullTime = Duration(microseconds: value["dirty-limit-ring-full-time"])
        stunTimePerRound = Duration(microseconds: value["stun-time-per-round"])
        downtimeParts = value["downtime-parts"].map(DowntimeParts.init)
        postcopy = value["postcopy"].map(PostcopyInformation.init)
        handOverIsUnknown = value["hand-over"] == "unknown"
    }
}

extension Duration {
    /// Whole milliseconds, rounded down, as QEMU reports times.
    var inMilliseconds: QMPValue { QMPValue(wholeMicroseconds / 1000) }
    var inMicroseconds: QMPValue { QMPValue(wholeMicroseconds) }

    init?(milliseconds value: QMPValue?) {
        guard let number = value?.integerValue, number.magnitude < 1 << 50 else { return nil }
        self = .milliseconds(number)
    }

    init?(microseconds value: QMPValue?) {
        guard let number = value?.integerValue, number.magnitude < 1 << 60 else { return nil }
        self = .microseconds(number)
    }

    private var wholeMicroseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    }
}
