internal import LinuxSystem
public import MigrationClient
public import MigrationRecords
internal import QMP
public import Report
internal import Synchronization

/// What a comparison tells while it runs.
public enum TrialEvent: Sendable {
    /// A guest is started.
    case starting(mode: Move.Mode, transport: TrialPlan.Transport, round: Int)
    /// A line of the guest, and from which side; `isReport` when it tells of its work.
    case line(MigrationRecord.Side, String, isReport: Bool)
    /// The guest has worked long enough; it moves now.
    case moving
    case migration(MigrationReport)
    case ended(Move)
}

/// Moves a guest of its own in every mode that was asked for, one after the other.
public final class ComparisonRun: Sendable {
    private let plan: TrialPlan
    private let report: @Sendable (TrialEvent) -> Void
    private let current = Mutex<MoveTrial?>(nil)
    private let isAbandoned = Atomic(false)

    /// - Parameter report: Called on any thread.
    public init(_ plan: TrialPlan, report: @escaping @Sendable (TrialEvent) -> Void) {
        self.plan = plan
        self.report = report
    }

    /// Ends the guests at once; `run` returns soon, with what was done until then.
    public func abandon() {
        isAbandoned.store(true, ordering: .releasing)
        current.withLock { $0 }?.abandon()
    }

    /// Whether `abandon` was called.
    public var wasAbandoned: Bool { isAbandoned.load(ordering: .acquiring) }

    /// Runs all moves: all modes in turn, round after round, so that what changes on the host meets all of them.
    ///
    /// - Throws: `SystemError` when there is no place for its files.
    public func run() async throws -> Comparison {
        let now = WallClock.now
        var rows = plan.modes.flatMap { mode in
            plan.transports.map { Comparison.Row(mode: mode, transport: $0.rawValue, moves: []) }
        }
        let ways = plan.modes.flatMap { mode in plan.transports.map { (mode, $0) } }
        for round in 1...max(1, plan.roundCount) {
            for (index, (mode, transport)) in ways.enumerated() where !wasAbandoned {
                report(.starting(mode: mode, transport: transport, round: round))
                let trial = try MoveTrial(plan, mode, transport, report: report)
                current.withLock { $0 = trial }
                if wasAbandoned { trial.abandon() }
                let move = await trial.run()
                current.withLock { $0 = nil }
                report(.ended(move))
                rows[index].moves.append(move)
            }
        }
        rows.removeAll { $0.moves.isEmpty }
        var comparison = Comparison(
            title: rows.count > 1 ? "A running guest, moved in different ways" : "A running guest, moved",
            date: Event.Timestamp(seconds: now.seconds, microseconds: now.microseconds), conditions: plan.conditions,
            rows: rows)
        if plan.guest == .builtIn {
            comparison.remarks.append(
                "The guest prints a line every 50 ms, which itself takes about 1 ms: gaps are not shorter than that.")
        }
        return comparison
    }
}
