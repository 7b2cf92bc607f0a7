public import LinuxSystem
public import MigrationRecords
internal import QMP
internal import QMPClient

/// Drives one migration over QMP: prepares both monitors, starts it, watches it and says what came of it.
///
///     let run = MigrationRun(plan, source: source, destination: destination) { report in … }
///     let record = try await run.run()
///
/// Works with any monitor that speaks QEMU's QMP. `run` may be called once; the other functions beside it.
public actor MigrationRun {
    let plan: MigrationPlan
    let source: MonitorLink
    let destination: MonitorLink?
    let report: @Sendable (MigrationReport) -> Void
    private let samplingInterval: Duration
    var record: MigrationRecord
    var startInstant = ContinuousClock.now
    /// The last that was heard of the source.
    var status: MigrationStatus?
    var isSourceLost = false
    /// The source's monitor has no capability for what the plan's mode asks, so the decision is made here.
    var decidesHybrid = false
    /// The guest was stopped here, so it has to be started again wherever it is at the end.
    var hasStoppedGuest = false
    private var hasStarted = false
    private var cancellation: String?
    private var hasAskedForPostcopy = false
    private var hasSaidWhatPostcopyRisks = false
    private var lastWarning: String?
    private var timeoutIsOver = false
    private var isSamplingDestination = false
    private var remainingAtPassStart: [Int: UInt64] = [:]
    private var lastProgress: (time: Duration, byteCount: UInt64)?

    /// - Parameters:
    ///   - samplingInterval: Between two questions how far it is, in the first minute; five times as long after it.
    ///   - report: Called on any thread, in order.
    public init(
        _ plan: MigrationPlan, source: MonitorLink, destination: MonitorLink? = nil,
        samplingInterval: Duration = .milliseconds(100), report: @escaping @Sendable (MigrationReport) -> Void
    ) {
        self.plan = plan
        self.source = source
        self.destination = destination
        self.report = report
        self.samplingInterval = samplingInterval
        record = MigrationRecord(
            start: .now, address: plan.address, source: source.monitor, destination: destination?.monitor)
    }

    /// Runs the migration to its end.
    ///
    /// - Parameter descriptor: Goes to the source under the name of an `fd:` address.
    /// - Throws: `PreparationError` when it was not started; both guests are then as they were.
    public func run(passing descriptor: PassedDescriptor? = nil) async throws -> MigrationRecord {
        let signals = Signals(source: source, destination: destination, interval: samplingInterval)
        defer { signals.end() }
        let address = try await prepare(passing: descriptor)
        record.address = address
        do {
            try await start(at: address)
        } catch {
            await resumeWhatWasStopped(at: source)
            throw error
        }
        for await signal in signals.stream {
            await handle(signal)
            if isSourceLost || status?.hasEnded == true || status == .postcopyPaused { break }
        }
        await settle()
        await waitForResume(in: signals)
        // A QEMU says that it is over before it has counted everything.
        if !isSourceLost { await sampleSource() }
        record.duration = elapsed
        return record
    }

    private func start(at address: String) async throws {
        if !plan.isLive && source.runState == .running && !plan.resumes {
            try await source.prepare("stop")
            hasStoppedGuest = true
        }
        var arguments: QMPObject = ["uri": .string(address)]
        if plan.resumes { arguments["resume"] = true }
        startInstant = .now
        record.start = .now
        try await source.prepare("migrate", arguments)
        hasStarted = true
        if plan.resumes { hasAskedForPostcopy = true }
        // A cancel that came before there was anything to cancel.
        if cancellation != nil { _ = try? await source.client.execute("migrate_cancel") }
    }

    var elapsed: Duration { ContinuousClock.now - startInstant }

    // MARK: What others may ask for

    /// Gives the migration up, if that is still possible: the guest goes on at the source. What was done, in words.
    ///
    /// A post-copy cannot be given up: the guest runs at the destination and needs this side's memory.
    public func cancel(because reason: String) async -> String {
        if hasStarted && (hasAskedForPostcopy || status?.isPostcopy == true) {
            return "A post-copy cannot be cancelled: the guest needs both sides until all of its memory has arrived."
        }
        if cancellation != nil { return "The migration is being cancelled." }
        cancellation = reason
        guard hasStarted else { return "The migration will be cancelled." }
        do {
            try await source.client.execute("migrate_cancel")
            return "Cancelling the migration."
        } catch { return "The migration cannot be cancelled: \(error)" }
    }

    /// Goes on after `MigrationReport.waitsBeforeSwitchover`.
    public func proceed() async {
        guard status == .preSwitchover else { return }
        do {
            try await source.client.execute("migrate-continue", ["state": "pre-switchover"])
        } catch { report(.note("The migration could not be continued: \(error)")) }
    }

    // MARK: While it runs

    private func handle(_ signal: Signals.Signal) async {
        switch signal {
        case .tick:
            await sampleSource()
            sampleDestination()
            await watchTheTime()
        case .event(let side, let event):
            note(event, side)
            guard side == .source else { return }
            switch event.name {
            case "MIGRATION":
                if let status = event.data?["status"]?.stringValue.flatMap(MigrationStatus.init) { await take(status) }
            case "MIGRATION_PASS": await sampleSource()
            default: break
            }
        case .ended(.source): isSourceLost = true
        case .ended(.destination): break
        }
    }

    /// Takes in the destination's RESUME, which may still be on its way when everything else is known.
    private func waitForResume(in signals: Signals) async {
        guard record.outcome == .completed, destination != nil, source.runState == .running else { return }
        let limit = elapsed + .seconds(1)
        func hasResumed() -> Bool {
            record.notices.contains { $0.side == .destination && $0.event.name == "RESUME" }
        }
        for await signal in signals.stream {
            if case .event(let side, let event) = signal { note(event, side) }
            if hasResumed() || elapsed > limit { return }
        }
    }

    func note(_ event: Event, _ side: MigrationRecord.Side) {
        record.notices.append(MigrationRecord.Notice(time: elapsed, side: side, event: event))
    }

    private func take(_ next: MigrationStatus) async {
        guard next != status, status?.hasEnded != true else { return }
        status = next
        report(.status(next))
        if next.isPostcopy && !hasSaidWhatPostcopyRisks {
            hasSaidWhatPostcopyRisks = true
            report(
                .note(
                    "Post-copy: from now on the guest needs both monitors until all of its memory has arrived. If either "
                        + "is killed, the guest is lost; if only the link breaks, --resume goes on."))
        }
        // What was counted in all, after the last change.
        if next.hasEnded || next == .postcopyPaused { await sampleSource() }
        if next == .preSwitchover { report(.waitsBeforeSwitchover) }
        if next == .active, case .postcopy(0) = plan.mode { await startPostcopy() }
    }

    func sampleSource() async {
        do {
            let answer = try await source.migrationAnswer()
            record.samples.append(MigrationRecord.Sample(time: elapsed, side: .source, answer: answer))
            let info = MigrationInfo(reading: answer)
            show(info)
            if let warning = info.postcopy?.warning, warning != lastWarning {
                lastWarning = warning
                report(.note(warning))
            }
            if let next = info.status, next != .none { await take(next) }
            await considerPostcopy(info)
        } catch is QMPError {
        } catch { isSourceLost = true }
    }

    /// Beside everything else: a destination that loads a guest may answer late.
    private func sampleDestination() {
        guard let destination, !isSamplingDestination else { return }
        isSamplingDestination = true
        Task {
            let answer = try? await destination.migrationAnswer()
            isSamplingDestination = false
            if let answer {
                record.samples.append(MigrationRecord.Sample(time: elapsed, side: .destination, answer: answer))
            }
        }
    }

    private func show(_ info: MigrationInfo) {
        guard let memory = info.ram else { return }
        let now = elapsed
        var rate = 0.0
        if let last = lastProgress, now > last.time, memory.transferred >= last.byteCount {
            rate = Double(memory.transferred - last.byteCount) / ((now - last.time) / .seconds(1))
        }
        if let last = lastProgress, now - last.time < .milliseconds(950) { return }
        lastProgress = (now, memory.transferred)
        let arriving = record.samples.last { $0.side == .destination }?.info.postcopy
        report(.progress(MigrationProgress(elapsed: now, info: info, arriving: arriving, rate: rate)))
    }

    // MARK: Decisions on the way

    private func watchTheTime() async {
        guard let timeout = plan.timeout, !timeoutIsOver, elapsed >= timeout.limit, status?.hasEnded != true,
            status?.isPostcopy != true
        else { return }
        timeoutIsOver = true
        let limit = "The time limit of \(timeout.limit / .seconds(1)) s is over"
        switch timeout.action {
        case .cancel:
            report(.note("\(limit): the migration is cancelled."))
            _ = await cancel(because: "\(limit).")
        case .postcopy:
            report(.note("\(limit): the rest follows by post-copy."))
            await startPostcopy()
        case .suspend:
            guard source.runState == .running, !hasStoppedGuest else { return }
            report(.note("\(limit): the guest is stopped until it has moved."))
            do {
                try await source.client.execute("stop")
                hasStoppedGuest = true
            } catch { report(.note("The guest could not be stopped: \(error)")) }
        }
    }

    private func considerPostcopy(_ info: MigrationInfo) async {
        guard !hasAskedForPostcopy, info.status == .active, let memory = info.ram, memory.dirtySyncCount > 0 else {
            return
        }
        let pass = Int(clamping: memory.dirtySyncCount)
        switch plan.mode {
        case .precopy: break
        case .postcopy(let passCount): if pass > passCount { await startPostcopy() }
        case .hybrid:
            if remainingAtPassStart[pass] == nil { remainingAtPassStart[pass] = memory.remaining }
            guard decidesHybrid, pass > 1, let before = remainingAtPassStart[pass - 1] else { return }
            // A pass that leaves more than half of what it found does not pay.
            if memory.remaining > before / 2 || pass > 5 { await startPostcopy() }
        }
    }

    private func startPostcopy() async {
        guard !hasAskedForPostcopy, cancellation == nil else { return }
        hasAskedForPostcopy = true
        do {
            try await source.client.execute("migrate-start-postcopy")
        } catch {
            hasAskedForPostcopy = false
            report(.note("Post-copy could not be started: \(error)"))
        }
    }

    /// Why it was given up, nil if nobody asked for that.
    var cancellationReason: String? { cancellation }
}

extension MigrationStatus {
    var isPostcopy: Bool { rawValue.hasPrefix("postcopy") }
}

extension Event.Timestamp {
    /// The time of day.
    static var now: Event.Timestamp {
        let now = WallClock.now
        return Event.Timestamp(seconds: now.seconds, microseconds: now.microseconds)
    }
}
