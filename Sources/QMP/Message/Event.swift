/// Something that happened: `{"timestamp": {…}, "event": NAME, "data": {…}}`.
public struct Event: Equatable, Sendable {
    /// Wall clock time since 1970 in UTC, to the microsecond.
    public struct Timestamp: Equatable, Sendable {
        public var seconds: Int64
        /// 0 to 999 999.
        public var microseconds: Int64

        public init(seconds: Int64, microseconds: Int64) {
            self.seconds = seconds
            self.microseconds = microseconds
        }
    }

    public var name: String
    /// Nil when the event carries none: the key is then absent.
    public var data: QMPObject?
    public var timestamp: Timestamp

    public init(_ name: String, data: QMPObject? = nil, at timestamp: Timestamp) {
        self.name = name
        self.data = data
        self.timestamp = timestamp
    }

    public var value: QMPValue {
        var object: QMPObject = [
            "timestamp": [
                "seconds": .integer(timestamp.seconds), "microseconds": .integer(timestamp.microseconds),
            ],
            "event": .string(name),
        ]
        object["data"] = data.map(QMPValue.object)
        return .object(object)
    }

    /// Reads an event; nil when `value` is none.
    public init?(reading value: QMPValue) {
        guard let name = value["event"]?.stringValue else { return nil }
        let time = value["timestamp"]
        self.init(
            name, data: value["data"]?.objectValue,
            at: Timestamp(
                seconds: time?["seconds"]?.integerValue ?? 0, microseconds: time?["microseconds"]?.integerValue ?? 0))
    }
}
