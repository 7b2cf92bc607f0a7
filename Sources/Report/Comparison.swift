public import MigrationRecords
public import QMP

/// Moves of one guest that are to be compared, and under which conditions they were made.
public struct Comparison: Equatable, Sendable {
    /// The same move, once or several times.
    public struct Row: Equatable, Sendable {
        public var mode: Move.Mode
        public var transport: String
        /// One for each round, in their order.
        public var moves: [Move]

        public init(mode: Move.Mode, transport: String, moves: [Move]) {
            self.mode = mode
            self.transport = transport
            self.moves = moves
        }

        /// "pre-copy", and the transport if `others` use another.
        func title(_ showsTransport: Bool) -> String { showsTransport ? "\(mode.title), \(transport)" : mode.title }

        /// The first round that failed, and why.
        public var failure: String? {
            guard let index = moves.firstIndex(where: { $0.failure != nil }), let text = moves[index].failure else {
                return nil
            }
            return moves.count == 1 ? text : "Round \(index + 1): \(text)"
        }

        /// Medians over the rounds that succeeded; those of the first failed one if none did.
        public var figures: MoveFigures {
            let succeeded = moves.filter { $0.failure == nil }
            return MoveFigures(medianOf: (succeeded.isEmpty ? Array(moves.prefix(1)) : succeeded).map(MoveFigures.init))
        }

        /// The round whose total time is in the middle: the one that pictures show.
        var typicalRound: Int? {
            let known = moves.indices.filter { moves[$0].failure == nil }
                .map { ($0, MoveFigures(of: moves[$0])[.totalTime]?.value ?? 0) }.sorted { $0.1 < $1.1 }
            return known.isEmpty ? moves.firstIndex { $0.record != nil } : known[known.count / 2].0
        }
        var typicalMove: Move? { typicalRound.map { moves[$0] } }
    }

    /// "Three ways to move a running guest"
    public var title: String
    /// The time of day of the run, UTC.
    public var date: Event.Timestamp
    /// What was the same for all: ("Memory", "256 MiB").
    public var conditions: [Condition]
    public var rows: [Row]
    /// Sentences below the table: what a figure cannot say, and why one is missing.
    public var remarks: [String] = []

    public struct Condition: Equatable, Sendable {
        public var name: String
        public var value: String

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    public init(title: String, date: Event.Timestamp, conditions: [Condition], rows: [Row]) {
        self.title = title
        self.date = date
        self.conditions = conditions
        self.rows = rows
    }

    /// The report of one migration.
    public init(_ record: MigrationRecord) {
        let move = Move(record)
        var conditions = [
            Condition("Address", record.address),
            Condition("Source", record.source.program),
        ]
        if let guest = record.source.guest { conditions.insert(Condition("Guest", guest), at: 0) }
        if let destination = record.destination { conditions.append(Condition("Destination", destination.program)) }
        conditions.append(Condition("Virtual CPUs", String(record.source.virtualCPUCount)))
        if !record.capabilities.isEmpty {
            conditions.append(Condition("Capabilities", record.capabilities.joined(separator: ", ")))
        }
        self.init(
            title: "A guest moved", date: record.start, conditions: conditions,
            rows: [Row(mode: move.mode, transport: move.transport, moves: [move])])
    }

    public var hasSucceeded: Bool { rows.allSatisfy { $0.failure == nil } }

    var showsTransport: Bool { Set(rows.map(\.transport)).count > 1 }
    func title(of row: Row) -> String { row.title(showsTransport) }

    /// The figures that at least one row knows, in their order.
    var knownKinds: [Figure.Kind] {
        let all = rows.map(\.figures)
        guard let first = all.first else { return [] }
        return first.figures.map(\.kind).filter { kind in all.contains { $0[kind]?.value != nil } }
    }

    /// Reasons for figures that are missing in all rows: "Downtime, by a network client: - (…)".
    public var missing: [String] {
        guard let first = rows.first?.figures else { return [] }
        var reasons: [(reason: String, titles: [String])] = []
        for figure in first.figures where !knownKinds.contains(figure.kind) {
            guard let reason = figure.reason else { continue }
            if let index = reasons.firstIndex(where: { $0.reason == reason }) {
                reasons[index].titles.append(figure.kind.title)
            } else {
                reasons.append((reason, [figure.kind.title]))
            }
        }
        return reasons.map { "\($0.titles.joined(separator: "; ")): - (\($0.reason))" }
    }
}
