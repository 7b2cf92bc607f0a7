internal import MigrationRecords
internal import QMP
internal import QMPClient

/// What is done and found out when nothing more happens at the source.
extension MigrationRun {
    func settle() async {
        if isSourceLost && status?.hasEnded != true { return await settleWithoutSource() }
        let info = record.samples.last { $0.side == .source }?.info
        switch status {
        case .completed: await settleAtDestination()
        case .postcopyPaused: await settlePaused(info?.errorDescription)
        case .cancelled:
            record.outcome = .cancelled
            add(cancellationReason ?? "Somebody else cancelled the migration.")
            await resumeWhatWasStopped(at: source)
        default:
            add(info?.errorDescription ?? "The source does not say why.")
            await addWordsOfDestination()
            if info?.handOverIsUnknown == true { return await settleUnknown() }
            record.outcome = .failed
            await resumeWhatWasStopped(at: source)
        }
    }

    /// The link of a post-copy is lost. The destination may have had everything already: only the source cannot know.
    private func settlePaused(_ reason: String?) async {
        record.outcome = .paused
        add(reason ?? "The link between source and destination is lost.")
        let limit = elapsed + .seconds(3)
        while let destination, elapsed < limit, let answer = try? await destination.migrationAnswer() {
            switch MigrationInfo(reading: answer).status {
            case .completed:
                record.samples.append(MigrationRecord.Sample(time: elapsed, side: .destination, answer: answer))
                record.outcome = .completed
                return add(
                    "The destination had all of the guest before; the source waits to hear of that: connect them once "
                        + "more (--resume), or end it (apus qmp \(source.monitor.socket) quit).")
            case .postcopyPaused: return
            default: try? await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    /// The source has sent everything. What the destination made of it, if there is a connection to it.
    private func settleAtDestination() async {
        record.outcome = .completed
        guard let destination else {
            if hasStoppedGuest {
                add("The guest was stopped before it moved; start it at the destination (cont).")
            }
            return
        }
        do {
            if plan.isThroughFile {
                try await destination.prepare(
                    "migrate-incoming", ["uri": .string(plan.listenAddress ?? plan.address)])
            }
            let arrived = try await waitForArrival(at: destination)
            guard arrived == .completed else {
                record.outcome = .unknown
                return await addWordsOfDestination()
            }
            await resumeWhatWasStopped(at: destination)
        } catch {
            record.outcome = .unknown
            add("The source has handed the guest over, and the destination's monitor ended the connection: \(error)")
        }
    }

    /// Asks until the destination has loaded the guest or has failed, for a minute at most.
    private func waitForArrival(at destination: MonitorLink) async throws -> MigrationStatus? {
        var last: MigrationStatus?
        while true {
            let answer = try await destination.migrationAnswer()
            last = MigrationInfo(reading: answer).status
            // QEMU says "completed" before it lets the guest run.
            let state = try await destination.queryRunState()
            if last == .failed || (last == .completed && state != .incomingMigration) || elapsed > Self.arrivalLimit {
                record.samples.append(MigrationRecord.Sample(time: elapsed, side: .destination, answer: answer))
                return last
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private static let arrivalLimit: Duration = .seconds(60)

    /// The source's monitor has gone in the middle of it: the destination may know more.
    private func settleWithoutSource() async {
        record.outcome = .unknown
        add("The source's monitor ended the connection during the migration.")
        guard let destination else { return }
        guard let arrived = try? await waitForArrival(at: destination) else {
            return add("The destination's monitor is not there either.")
        }
        if arrived == .completed {
            record.outcome = .completed
            await resumeWhatWasStopped(at: destination)
        } else {
            await addWordsOfDestination()
        }
    }

    /// Everything was sent and the source got no answer: it stands still until somebody says which side goes on.
    private func settleUnknown() async {
        record.outcome = .unknown
        let socket = source.monitor.socket
        guard let destination, let state = try? await destination.queryRunState() else {
            return add(
                "The guest stands still at the source. If it does not run at the destination either, let it go on "
                    + "(apus qmp \(socket) cont); if it does, end the source (apus qmp \(socket) quit).")
        }
        if state == .incomingMigration {
            add("The destination does not run the guest: let it go on at the source (apus qmp \(socket) cont).")
        } else {
            record.outcome = .completed
            add("The destination has the guest (\(state.rawValue)): end the source (apus qmp \(socket) quit).")
        }
    }

    private func addWordsOfDestination() async {
        guard let destination else { return }
        do {
            let info = MigrationInfo(reading: try await destination.migrationAnswer())
            if let text = info.errorDescription { add("The destination says: \(text)") }
        } catch { add("The destination's monitor is not there any more.") }
    }

    /// Lets the guest go on that was stopped for the migration.
    func resumeWhatWasStopped(at link: MonitorLink) async {
        guard hasStoppedGuest else { return }
        do {
            if try await link.queryRunState() != .running { try await link.client.execute("cont") }
            hasStoppedGuest = false
        } catch { add("The guest could not be let go on at the \(link.side.rawValue): \(error)") }
    }

    private func add(_ text: String) { record.reasons.append(MonitorLink.sentence(text)) }
}
