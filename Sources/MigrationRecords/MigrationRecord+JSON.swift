public import QMP

/// Why a text is no record.
public struct RecordError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(description: String) { self.description = description }
}

/// A record as JSON. Times are in microseconds.
///
///     {"format": 1, "start": {"seconds", "microseconds"}, "address", "source": MONITOR, "destination": MONITOR,
///      "capabilities": ["multifd", …], "parameters": {…}, "samples": [{"time", "side", "migrate": {…}}, …],
///      "events": [{"time", "side", "event": {"timestamp", "event", "data"}}, …],
///      "outcome", "reasons": ["…"], "duration"}
///     MONITOR: {"program", "socket", "guest", "cpus"}
extension MigrationRecord {
    public var value: QMPValue {
        var object: QMPObject = ["format": 1]
        object["start"] = ["seconds": .integer(start.seconds), "microseconds": .integer(start.microseconds)]
        object["address"] = .string(address)
        object["source"] = source.value
        object["destination"] = destination?.value
        object["capabilities"] = .array(capabilities.map(QMPValue.string))
        object["parameters"] = .object(parameters)
        object["samples"] = .array(
            samples.map { ["time": $0.time.microseconds, "side": .string($0.side.rawValue), "migrate": $0.answer] })
        object["events"] = .array(
            notices.map { ["time": $0.time.microseconds, "side": .string($0.side.rawValue), "event": $0.event.value] })
        object["outcome"] = .string(outcome.rawValue)
        object["reasons"] = .array(reasons.map(QMPValue.string))
        object["duration"] = duration.microseconds
        return .object(object)
    }

    /// Reads the text of a file that holds `value`.
    ///
    /// - Throws: `RecordError` that says what is wrong.
    public init(parsing text: String) throws(RecordError) {
        // An hour's samples of both sides are some 200 MB; a QMP message is never that large.
        var limits = QMPLimits()
        (limits.textByteCount, limits.tokenCount) = (1 << 30, 1 << 26)
        let value: QMPValue
        do { value = try QMPValue(parsing: text, limits: limits) } catch {
            throw RecordError(description: "The record is no JSON: \(error.description).")
        }
        try self.init(reading: value)
    }

    /// Reads what `value` made.
    ///
    /// - Throws: `RecordError` that names the member that is missing or of another type.
    public init(reading value: QMPValue) throws(RecordError) {
        let format = try value.integer("format")
        guard format == 1 else {
            throw RecordError(description: "The record has format \(format); this program reads format 1.")
        }
        let start = try value.member("start")
        self.init(
            start: Event.Timestamp(
                seconds: try start.integer("seconds"), microseconds: try start.integer("microseconds")),
            address: try value.text("address"), source: try Monitor(reading: try value.member("source")))
        if let monitor = value["destination"] { destination = try Monitor(reading: monitor) }
        capabilities = try value.array("capabilities").compactMap(\.stringValue)
        guard case .object(let parameters) = try value.member("parameters") else { throw .missing("parameters") }
        self.parameters = parameters
        for entry in try value.array("samples") {
            samples.append(
                Sample(time: try entry.time("time"), side: try entry.side(), answer: try entry.member("migrate")))
        }
        for entry in try value.array("events") {
            guard let event = Event(reading: try entry.member("event")) else { throw .missing("event") }
            notices.append(Notice(time: try entry.time("time"), side: try entry.side(), event: event))
        }
        guard let outcome = Outcome(rawValue: try value.text("outcome")) else { throw .missing("outcome") }
        self.outcome = outcome
        reasons = try value.array("reasons").compactMap(\.stringValue)
        duration = try value.time("duration")
    }
}

extension MigrationRecord.Monitor {
    var value: QMPValue {
        var object: QMPObject = ["program": .string(program), "socket": .string(socket)]
        object["guest"] = guest.map(QMPValue.string)
        object["cpus"] = QMPValue(virtualCPUCount)
        return .object(object)
    }

    init(reading value: QMPValue) throws(RecordError) {
        self.init(
            program: try value.text("program"), socket: try value.text("socket"), guest: value["guest"]?.stringValue,
            virtualCPUCount: Int(clamping: try value.integer("cpus")))
    }
}

extension RecordError {
    fileprivate static func missing(_ name: String) -> RecordError {
        RecordError(description: "The record has no '\(name)', or one of another type.")
    }
}

extension QMPValue {
    fileprivate func member(_ name: String) throws(RecordError) -> QMPValue {
        guard let value = self[name] else { throw .missing(name) }
        return value
    }

    fileprivate func integer(_ name: String) throws(RecordError) -> Int64 {
        guard let value = self[name]?.integerValue else { throw .missing(name) }
        return value
    }

    fileprivate func text(_ name: String) throws(RecordError) -> String {
        guard let value = self[name]?.stringValue else { throw .missing(name) }
        return value
    }

    fileprivate func array(_ name: String) throws(RecordError) -> [QMPValue] {
        guard let value = self[name]?.arrayValue else { throw .missing(name) }
        return value
    }

    fileprivate func time(_ name: String) throws(RecordError) -> Duration { .microseconds(try integer(name)) }

    fileprivate func side() throws(RecordError) -> MigrationRecord.Side {
        guard let side = MigrationRecord.Side(rawValue: try text("side")) else { throw .missing("side") }
        return side
    }
}

extension Duration {
    fileprivate var microseconds: QMPValue {
        let (seconds, attoseconds) = components
        return .integer(seconds * 1_000_000 + attoseconds / 1_000_000_000_000)
    }
}
