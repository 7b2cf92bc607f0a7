internal import MigrationRecords
public import QMP

/// The figures of one migration, in the order in which they are shown.
public struct MoveFigures: Equatable, Sendable {
    public private(set) var figures: [Figure] = []

    public init(of move: Move) {
        let summary = move.record.map(MigrationSummary.init)
        let isCompleted = summary?.outcome == .completed
        let total = isCompleted ? summary?.totalTime : nil
        add(.totalTime, total.map { $0 / .milliseconds(1) })
        add(.downtime, isCompleted ? (summary?.downtime).map { $0 / .milliseconds(1) } : nil)
        addGuest(move, total)
        let gap = move.network.map { $0.longestGap / .milliseconds(1) }
        add(.networkGap, gap, orBecause: "no network client: the guest has no network card that this host reaches")
        add(.sent, summary.map { Double($0.transferredByteCount) / 1_048_576 })
        add(.ratio, summary?.ratio)
        add(.passes, (summary?.passCount).map { Double($0) })
        let hasPostcopy = move.record.map { Move.Mode(of: $0) != .precopy } ?? false
        // A monitor may leave the count out once it is over.
        let requests = move.record?.samples.compactMap { $0.info.ram?.postcopyRequests }.max()
        add(.pageRequests, hasPostcopy ? requests.map { Double($0) } : nil)
        addFaults(move.record)
        add(.pushedPages, hasPostcopy ? summary?.sentPostcopy?.pushedPages.map { Double($0) } : nil)
        let blocked = summary?.arrivedPostcopy?.virtualCPUs?.map(\.total).max()
        add(.blocked, blocked.map { $0 / .milliseconds(1) })
        let lastPage = summary?.arrivedPostcopy?.timeToLastPage
        add(.lastPage, lastPage.map { $0 / .milliseconds(1) })
        add(.sourceCost, (move.cost?.source).map { $0 / .seconds(1) })
        add(.destinationCost, (move.cost?.destination).map { $0 / .seconds(1) })
        add(.checkedPages, move.guest.flatMap { $0.checkedPageCount > 0 ? Double($0.checkedPageCount) : nil })
        add(.bad, (move.guest?.badCount).map { Double($0) })
    }

    private mutating func addGuest(_ move: Move, _ total: Duration?) {
        let silence = "the guest says nothing about its work"
        guard let guest = move.guest, let total, let end = move.record?.end else {
            let reason = move.guest == nil ? silence : nil
            for kind in [Figure.Kind.guestGap, .guestSpeed, .lostWork] { add(kind, nil, orBecause: reason) }
            return
        }
        let moment = max(end, total)
        let gap = guest.looks(until: moment).map(\.gap).max()
        add(.guestGap, gap.map { $0 / .milliseconds(1) }, orBecause: silence)
        let speed = guest.speed(over: .zero...moment)
        add(.guestSpeed, speed.map { max(0, $0) * 100 }, orBecause: silence)
        add(.lostWork, speed.map { max(0, 1 - $0) * (moment / .milliseconds(1)) }, orBecause: silence)
    }

    private mutating func addFaults(_ record: MigrationRecord?) {
        let latencies = record.flatMap(FaultLatencies.init)
        for (kind, value) in [
            (Figure.Kind.faults, latencies?.count), (.faultMedian, latencies?.median),
            (.fault99, latencies?.percentile99),
            (.faultMaximum, latencies?.maximum),
        ] { add(kind, value) }
    }

    private mutating func add(_ kind: Figure.Kind, _ value: Double?, orBecause reason: String? = nil) {
        figures.append(Figure(kind, value, reason: reason))
    }

    /// The medians of several moves, figure by figure, over those that know it.
    public init(medianOf all: [MoveFigures]) {
        guard let first = all.first else { return }
        figures = first.figures.indices.map { index in
            let values = all.compactMap { $0.figures[index].value }.sorted()
            let middle = values.count / 2
            let median =
                values.isEmpty
                ? nil : values.count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2
            return Figure(first.figures[index].kind, median, reason: first.figures[index].reason)
        }
    }

    public subscript(kind: Figure.Kind) -> Figure? { figures.first { $0.kind == kind } }

    /// `{"total-ms": …}`; what is not known is null.
    public var json: QMPValue { .object(QMPObject(figures.map { ($0.kind.name, $0.json) })) }
}

extension MigrationRecord {
    /// When the source said that it was over.
    var end: Duration? {
        let last = samples.first { $0.side == .source && $0.info.status?.hasEnded == true }?.time
        let event = notices.first {
            $0.side == .source && $0.event.name == "MIGRATION"
                && ($0.event.data?["status"]?.stringValue.flatMap(MigrationStatus.init)?.hasEnded ?? false)
        }?.time
        return [last, event].compactMap(\.self).min()
    }
}
