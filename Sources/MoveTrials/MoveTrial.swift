internal import BuiltInGuest
internal import LinuxSystem
internal import MigrationClient
internal import MigrationRecords
internal import QMP
internal import QMPClient
internal import Report
internal import Synchronization

/// One guest that is started, works, moves, is watched, and ends.
final class MoveTrial: Sendable {
    private let plan: TrialPlan
    private let mode: Move.Mode
    private let transport: TrialPlan.Transport
    private let report: @Sendable (TrialEvent) -> Void
    private let folder: TemporaryFolder
    private let lines: GuestLines
    private let monitors = Mutex<[MonitorProcess]>([])
    private let isEnded = Atomic(false)

    init(
        _ plan: TrialPlan, _ mode: Move.Mode, _ transport: TrialPlan.Transport,
        report: @escaping @Sendable (TrialEvent) -> Void
    ) throws {
        self.plan = plan
        self.mode = mode
        self.transport = transport
        self.report = report
        folder = try TemporaryFolder(named: "apus-trial")
        lines = GuestLines { line in report(.line(line.side, line.text, isReport: line.report != nil)) }
    }

    /// Ends the monitors at once: what waits for them fails.
    func abandon() {
        isEnded.store(true, ordering: .releasing)
        for monitor in monitors.withLock({ $0 }) { monitor.kill() }
    }

    /// Does it all. What went wrong is in the result.
    func run() async -> Move {
        var move = Move(mode: mode, transport: transport.rawValue)
        do { try await run(&move) } catch {
            // The first thing that went wrong is the one to tell.
            if move.failure == nil { move.failure = Self.sentence(error) }
        }
        for monitor in monitors.withLock({ $0 }) { await monitor.end() }
        return move
    }

    private static func sentence(_ error: any Error) -> String {
        let text = "\(error)"
        return text.hasSuffix(".") ? text : text + "."
    }

    private func run(_ move: inout Move) async throws {
        let commands = try TrialCommands(plan, folder)
        let destination = try start(.destination, commands.destination)
        let source = try start(.source, commands.source)
        let sourceLink = try await source.connect()
        let destinationLink = try await destination.connect()
        try await warmUp(source)
        let client = try plan.guestAddress.map { try NetworkClient(asking: $0) }
        defer { _ = client?.end() }
        if let client { try await waitForAnswers(client, count: 25) }
        report(.moving)
        let threads = (try await sourceLink.virtualCPUThreads(), try await destinationLink.virtualCPUThreads())
        let before = source.cost(without: threads.0)
        // Not held by it: the folder goes away with the trial, and the process may end right after that.
        let watchdog = Task { [weak self, limit = plan.limit] in
            try await Task.sleep(for: limit + .seconds(30))
            self?.abandon()
        }
        defer { watchdog.cancel() }
        let migration = MigrationRun(
            migrationPlan, source: sourceLink, destination: destinationLink, samplingInterval: .milliseconds(20)
        ) { [report] in report(.migration($0)) }
        let record = try await migration.run()
        watchdog.cancel()
        if let before, let after = source.cost(without: threads.0),
            let arrived = destination.cost(without: threads.1)
        {
            move.cost = ProcessorCost(source: after - before, destination: arrived)
        }
        move.record = record
        // Also of a guest that stayed, or found something wrong.
        defer { move.guest = trace(since: record.start) }
        try check(record)
        try await coolDown(destination)
        if let client { move.network = client.end() }
        if let complaint = lines.complaint { throw TrialFailure("The guest found something wrong: \(complaint)") }
    }

    private func start(_ side: MigrationRecord.Side, _ arguments: [String]) throws -> MonitorProcess {
        let monitor = try MonitorProcess(side, plan.program, arguments, in: folder, lines: lines)
        monitors.withLock { $0.append(monitor) }
        if isEnded.load(ordering: .acquiring) { monitor.kill() }
        return monitor
    }

    private var migrationPlan: MigrationPlan {
        let address =
            switch transport {
            case .tcp: "tcp:127.0.0.1:0"
            case .unix: "unix:\(folder.file("migration"))"
            case .fd: "fd:migration"
            }
        var migration = MigrationPlan(address: address)
        migration.enable("events")
        migration.enable("return-path")
        let rate = QMPValue(plan.bandwidth << 20)
        migration.set("max-bandwidth", to: rate)
        migration.set("downtime-limit", to: QMPValue(plan.downtimeLimit))
        if let count = plan.channelCount {
            migration.enable("multifd", for: "--channels")
            migration.set("multifd-channels", to: QMPValue(count), for: "--channels")
        }
        if plan.hasAutoConverge { migration.enable("auto-converge", for: "--auto-converge") }
        switch mode {
        case .precopy: migration.timeout = .init(limit: plan.limit, action: .cancel)
        case .postcopy, .hybrid:
            let option = "--modes \(mode.rawValue)"
            migration.enable("postcopy-ram", for: option)
            // The link is the same for all modes.
            migration.set("max-postcopy-bandwidth", to: rate, for: option)
            migration.mode = mode == .postcopy ? .postcopy(afterPass: 0) : .hybrid
        }
        return migration
    }

    private func check(_ record: MigrationRecord) throws {
        if isEnded.load(ordering: .acquiring) { throw TrialFailure("It was given up.") }
        guard record.outcome == .completed else {
            let reasons = record.reasons.joined(separator: " ")
            throw TrialFailure(reasons.isEmpty ? "The migration is \(record.outcome.rawValue)." : reasons)
        }
        // What was asked for must be what was done, or the row would tell of something else.
        if mode == .postcopy, Move.Mode(of: record) == .precopy {
            throw TrialFailure("The migration ended before post-copy began, as a pre-copy.")
        }
    }

    // MARK: The guest

    /// Whether the guest tells of its work, or will.
    private var isTalkative: Bool { plan.guestReports || lines.all.contains { $0.text.hasPrefix("workload:") } }

    /// Lets the guest work until its speed is known.
    private func warmUp(_ source: MonitorProcess) async throws {
        let isBuiltIn = plan.guest == .builtIn
        // A second of the built-in guest's lines, five lines of a Linux.
        try await waitForReports(isBuiltIn ? 25 : 5, within: .seconds(isBuiltIn ? 60 : 240), of: source)
    }

    /// Lets the guest work at the destination until it has looked at all of its memory.
    private func coolDown(_ destination: MonitorProcess) async throws {
        guard isTalkative else { return }
        let start = lines.reports.count
        let first = lines.reports.last?.report.checkedPageCount ?? 0
        let isBuiltIn = plan.guest == .builtIn
        try await waitForReports(start + (isBuiltIn ? 20 : 4), within: .seconds(120), of: destination)
        guard isBuiltIn, plan.workload.readRate != 0 else { return }
        let deadline = ContinuousClock.now + .seconds(60)
        while (lines.reports.last?.report.checkedPageCount ?? 0) < first + plan.regionMebibytes * 256 {
            try await pause(until: deadline, of: destination, "checked all of its memory")
        }
    }

    private func waitForReports(_ count: Int, within limit: Duration, of monitor: MonitorProcess) async throws {
        let deadline = ContinuousClock.now + limit
        // A Linux without a workload of ours is moved when it has been there for a while.
        let patience = ContinuousClock.now + .seconds(30)
        while lines.reports.count < count {
            if !isTalkative, ContinuousClock.now > patience { return }
            if let complaint = lines.complaint {
                throw TrialFailure("The guest found something wrong: \(complaint)")
            }
            try await pause(until: deadline, of: monitor, "said how its work goes on")
        }
    }

    private func waitForAnswers(_ client: NetworkClient, count: Int) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while client.answeredCount < count {
            if ContinuousClock.now > deadline {
                throw TrialFailure("The guest does not answer at \(plan.guestAddress ?? "") within 60 s.")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func pause(until deadline: ContinuousClock.Instant, of monitor: MonitorProcess, _ what: String) async throws
    {
        if isEnded.load(ordering: .acquiring) { throw TrialFailure("It was given up.") }
        if ContinuousClock.now > deadline {
            let last = lines.all.last.map { ": '\($0.text)'" } ?? "; it never said anything"
            throw TrialFailure(
                "The guest at the \(monitor.side.rawValue) has not \(what) in time; its last line\(last).")
        }
        try await Task.sleep(for: .milliseconds(10))
    }

    private func trace(since start: Event.Timestamp) -> GuestTrace? {
        let reports = lines.reports
        guard !reports.isEmpty else { return nil }
        let looks = reports.map { line, report in
            let time =
                Duration.seconds(line.time.seconds - start.seconds)
                + .microseconds(line.time.microseconds - start.microseconds)
            return GuestTrace.Look(time: time, work: report.work, gap: report.gap)
        }
        let checked = reports.filter { $0.line.side == .destination }.map(\.report.checkedPageCount)
        return GuestTrace(
            looks: looks, badCount: reports.last?.report.badCount ?? 0,
            checkedPageCount: (checked.last ?? 0) - (checked.first ?? 0))
    }
}
