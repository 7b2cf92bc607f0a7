internal import MigrationRecords
internal import QMP

/// What only the pictures of one move show, rounded once as figures are: the picture and the JSON have the same numbers.
struct MoveDetails {
    /// A part of the downtime, in milliseconds; `name` as the monitor says it.
    struct Part: Equatable {
        var name: String
        var milliseconds: Double
        var text: String
    }

    let downtimeParts: [Part]
    /// The guest's longest pauses by its lines: bucket n counts those up to 2^n half milliseconds.
    let pauses: [Double]
    /// Waits for pages: bucket n counts those below 2^n microseconds.
    let waits: [Double]

    init(of move: Move) {
        let object = move.record.map(MigrationSummary.init)?.downtimeParts?.value.objectValue ?? QMPObject()
        downtimeParts = object.members.compactMap { member in
            guard let microseconds = member.value.doubleValue else { return nil }
            let value = Figure.rounded(microseconds / 1000, digits: 3)
            let digits = value < 10 ? 2 : 1
            return Part(
                name: member.name, milliseconds: Figure.rounded(value, digits: digits),
                text: Figure.text(value, digits: digits))
        }
        if let guest = move.guest, let end = move.record?.end {
            pauses = Self.buckets(guest.looks(until: end).map { $0.gap / .milliseconds(0.5) })
        } else {
            pauses = []
        }
        waits = move.record.flatMap(FaultLatencies.init)?.buckets ?? []
    }

    /// Counts of values up to 1, 2, 4, 8, …
    private static func buckets(_ values: [Double]) -> [Double] {
        var buckets: [Double] = []
        for value in values {
            var index = 0
            while power(index) < value, index < 40 { index += 1 }
            while buckets.count <= index { buckets.append(0) }
            buckets[index] += 1
        }
        return buckets
    }

    private static func power(_ exponent: Int) -> Double { Double(1 << max(0, min(exponent, 60))) }

    /// The upper ends of buckets, in microseconds.
    static func pauseLimit(_ bucket: Int) -> Double { 500 * power(bucket) }
    static func waitLimit(_ bucket: Int) -> Double { power(bucket) }

    /// `{"downtime-parts-ms": {NAME: ms}, "guest-pauses": [[up to ms, lines]], "page-waits": [[up to µs, faults]]}`
    var json: QMPObject {
        func list(_ buckets: [Double], _ limit: (Int) -> Double) -> QMPValue {
            .array(
                buckets.enumerated().filter { $0.element > 0 }.map { bucket, count in
                    [.number(limit(bucket)), QMPValue(Figure.integer(count))]
                })
        }
        return [
            "downtime-parts-ms": .object(QMPObject(downtimeParts.map { ($0.name, .number($0.milliseconds)) })),
            "guest-pauses": list(pauses) { Self.pauseLimit($0) / 1000 }, "page-waits": list(waits, Self.waitLimit),
        ]
    }
}
