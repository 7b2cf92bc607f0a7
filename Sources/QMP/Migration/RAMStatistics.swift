/// The object `ram` of `query-migrate`: counts since the migration began.
public struct RAMStatistics: Equatable, Sendable {
    /// Bytes on the wire: precopy, downtime, postcopy and multifd together.
    public var transferred: UInt64 = 0
    /// Bytes of guest memory still to send.
    public var remaining: UInt64 = 0
    /// Bytes of guest memory.
    public var total: UInt64 = 0
    /// Zero pages.
    public var duplicate: UInt64 = 0
    /// Pages sent with their contents.
    public var normal: UInt64 = 0
    public var normalBytes: UInt64 = 0
    /// Pages dirtied per second.
    public var dirtyPagesRate: UInt64 = 0
    /// Megabits per second.
    public var mbps: Double = 0
    public var dirtySyncCount: UInt64 = 0
    public var postcopyRequests: UInt64 = 0
    public var pageSize: UInt64 = 4096
    public var multifdBytes: UInt64 = 0
    public var pagesPerSecond: UInt64 = 0
    public var precopyBytes: UInt64 = 0
    public var downtimeBytes: UInt64 = 0
    public var postcopyBytes: UInt64 = 0
    public var dirtySyncMissedZeroCopy: UInt64 = 0

    public init() {}

    private static let counters: [(name: String, field: any WritableKeyPath<RAMStatistics, UInt64> & Sendable)] = [
        ("transferred", \.transferred), ("remaining", \.remaining), ("total", \.total), ("duplicate", \.duplicate),
        ("normal", \.normal), ("normal-bytes", \.normalBytes), ("dirty-pages-rate", \.dirtyPagesRate),
        ("dirty-sync-count", \.dirtySyncCount), ("postcopy-requests", \.postcopyRequests), ("page-size", \.pageSize),
        ("multifd-bytes", \.multifdBytes), ("pages-per-second", \.pagesPerSecond), ("precopy-bytes", \.precopyBytes),
        ("downtime-bytes", \.downtimeBytes), ("postcopy-bytes", \.postcopyBytes),
        ("dirty-sync-missed-zero-copy", \.dirtySyncMissedZeroCopy),
    ]

    public var value: QMPValue {
        var object = QMPObject()
        for (name, field) in RAMStatistics.counters { object[name] = QMPValue(self[keyPath: field]) }
        object["mbps"] = .number(mbps)
        // Older clients of QEMU ask for it; it has been 0 for long.
        object["skipped"] = 0
        return .object(object)
    }

    /// Reads what a monitor answered; what is absent keeps its initial value.
    public init(reading value: QMPValue) {
        for (name, field) in RAMStatistics.counters {
            if let number = value[name]?.unsignedValue { self[keyPath: field] = number }
        }
        mbps = value["mbps"]?.doubleValue ?? 0
    }
}

/// The object `xbzrle-cache` of `query-migrate`.
public struct XBZRLECacheStatistics: Equatable, Sendable {
    public var cacheSize: UInt64 = 0
    public var bytes: UInt64 = 0
    public var pages: UInt64 = 0
    public var cacheMiss: UInt64 = 0
    public var cacheMissRate: Double = 0
    public var encodingRate: Double = 0
    public var overflow: UInt64 = 0

    public init() {}

    public var value: QMPValue {
        [
            "cache-size": QMPValue(cacheSize), "bytes": QMPValue(bytes), "pages": QMPValue(pages),
            "cache-miss": QMPValue(cacheMiss), "cache-miss-rate": .number(cacheMissRate),
            "encoding-rate": .number(encodingRate), "overflow": QMPValue(overflow),
        ]
    }

    /// Reads what a monitor answered; what is absent counts 0.
    public init(reading value: QMPValue) {
        cacheSize = value["cache-size"]?.unsignedValue ?? 0
        bytes = value["bytes"]?.unsignedValue ?? 0
        pages = value["pages"]?.unsignedValue ?? 0
        cacheMiss = value["cache-miss"]?.unsignedValue ?? 0
        cacheMissRate = value["cache-miss-rate"]?.doubleValue ?? 0
        encodingRate = value["encoding-rate"]?.doubleValue ?? 0
        overflow = value["overflow"]?.unsignedValue ?? 0
    }
}

/// The object `downtime-parts` of `query-migrate`: what the guest stood still for, in microseconds on the wire.
public struct DowntimeParts: Equatable, Sendable {
    public var pause: Duration?
    public var lastSync: Duration?
    public var lastPages: Duration?
    public var disks: Duration?
    public var save: Duration?
    public var send: Duration?
    public var load: Duration?
    public var resume: Duration?
    public var announce: Duration?

    public init() {}

    private static let parts: [(name: String, field: any WritableKeyPath<DowntimeParts, Duration?> & Sendable)] = [
        ("pause", \.pause), ("last-sync", \.lastSync), ("last-pages", \.lastPages), ("disks", \.disks),
        ("save", \.save), ("send", \.send),
        ("load", \.load), ("resume", \.resume), ("announce", \.announce),
    ]

    public var value: QMPValue {
        var object = QMPObject()
        for (name, field) in DowntimeParts.parts { object[name] = self[keyPath: field]?.inMicroseconds }
        return .object(object)
    }

    /// Reads what a monitor answered.
    public init(reading value: QMPValue) {
        for (name, field) in DowntimeParts.parts { self[keyPath: field] = Duration(microseconds: value[name]) }
    }
}
