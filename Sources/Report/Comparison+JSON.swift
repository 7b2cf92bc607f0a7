internal import MigrationRecords
public import QMP

extension Comparison {
    /// The whole comparison for programs; figures are those of the table and the page, to the last digit.
    ///
    ///     {"format": 1, "title", "date": {"seconds", "microseconds"}, "conditions": {NAME: VALUE}, "succeeded",
    ///      "rows": [{"mode", "transport", "succeeded", "failure", "figures": {"total-ms": …}, "shown-round",
    ///                "rounds": [{"succeeded", "failure", "figures": {…}, "series": {…}, "downtime-parts-ms": {…},
    ///                            "guest-pauses": [[up to ms, lines]], "page-waits": [[up to µs, faults]]}]}]}
    ///
    /// Pictures are of the round whose index is `shown-round`; there is none when no round came to a migration.
    public var json: QMPValue {
        var object: QMPObject = [
            "format": 1, "title": .string(title),
            "date": ["seconds": .integer(date.seconds), "microseconds": .integer(date.microseconds)],
            "conditions": .object(QMPObject(conditions.map { ($0.name, .string($0.value)) })),
            "succeeded": .bool(hasSucceeded),
        ]
        object["rows"] = .array(rows.map(\.json))
        object["remarks"] = .array(remarks.map(QMPValue.string))
        return .object(object)
    }
}

extension Comparison.Row {
    fileprivate var json: QMPValue {
        var object: QMPObject = [
            "mode": .string(mode.rawValue), "transport": .string(transport), "succeeded": .bool(failure == nil),
        ]
        object["failure"] = failure.map(QMPValue.string)
        object["figures"] = figures.json
        object["shown-round"] = typicalRound.map { QMPValue($0) }
        object["rounds"] = .array(
            moves.map { move in
                var round: QMPObject = ["succeeded": .bool(move.failure == nil)]
                round["failure"] = move.failure.map(QMPValue.string)
                round["figures"] = MoveFigures(of: move).json
                round["series"] = MoveSeries(of: move).json
                for member in MoveDetails(of: move).json.members { round[member.name] = member.value }
                return .object(round)
            })
        return .object(object)
    }
}

extension MoveSeries {
    /// Times in seconds, values in the unit of the member's name; both to a millionth.
    var json: QMPValue {
        func list(_ points: [Point]) -> QMPValue {
            .array(points.map { [.number(Self.short($0.time)), .number(Self.short($0.value))] })
        }
        var object: QMPObject = [
            "bandwidth-mib-per-s": list(bandwidth), "dirty-rate-mib-per-s": list(dirtyRate),
            "remaining-mib": list(remaining), "throttle-percent": list(throttle),
            "guest-speed-percent": list(guestSpeed),
        ]
        object["phases"] = .array(
            phases.map {
                ["name": .string($0.name), "start": .number(Self.short($0.start)), "end": .number(Self.short($0.end))]
            })
        object["passes"] = .array(
            passes.map {
                [
                    "pass": QMPValue($0.number), "postcopy": .bool($0.isPostcopy),
                    "pages": QMPValue($0.normalPageCount),
                    "zero-pages": QMPValue($0.zeroPageCount),
                ]
            })
        object["stopped"] = stop.map { [.number(Self.short($0.lowerBound)), .number(Self.short($0.upperBound))] }
        return .object(object)
    }

    private static func short(_ value: Double) -> Double { Figure.rounded(value, digits: 6) }
}
