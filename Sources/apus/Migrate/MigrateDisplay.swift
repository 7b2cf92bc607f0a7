import LinuxSystem
import MigrationClient
import MigrationRecords
import QMP
import StreamTools
import Synchronization

/// Shows a migration while it runs: a bar on a terminal, a line a second elsewhere, or JSON.
///
/// Progress goes to standard error, so that the report on standard output can be kept; JSON goes to standard output.
final class MigrateDisplay: Sendable {
    enum Style: Sendable { case none, text, json }

    private struct State {
        var status: MigrationStatus?
        var hasBar = false
        var interruptCount = 0
        var proceed: (@Sendable () -> Void)?
        var readsLine = false
    }

    private let style: Style
    private let isTerminal = StandardError.shared.descriptor.isTerminal
    private let monitorPath: String
    private let state = Mutex(State())

    /// - Parameter monitorPath: The source's socket, for hints.
    init(style: Style, monitorPath: String) {
        self.style = style
        self.monitorPath = monitorPath
    }

    /// Sets what happens when the user says that the switchover may go on.
    func continues(_ proceed: @escaping @Sendable () -> Void) { state.withLock { $0.proceed = proceed } }

    /// Whether this is not the first interruption.
    func isInterruptedAgain() -> Bool {
        state.withLock { state in
            state.interruptCount += 1
            return state.interruptCount > 1
        }
    }

    func show(_ report: MigrationReport) {
        switch report {
        case .progress(let progress): show(progress)
        case .status(let status):
            state.withLock { $0.status = status }
            if style == .json {
                writeJSON(["status": .string(status.rawValue)])
            } else if !isTerminal && !status.hasEnded {
                note(status.rawValue)
            }
        case .note(let text): note(text)
        case .waitsBeforeSwitchover: askToProceed()
        }
    }

    /// A line of its own, above the bar.
    func note(_ text: String) {
        switch style {
        case .none: break
        case .json: writeJSON(["note": .string(text)])
        case .text:
            removeBar()
            say(text)
        }
    }

    /// Shows the report, the last thing.
    func end(_ record: MigrationRecord) {
        removeBar()
        switch style {
        case .none: for reason in record.reasons { say("apus migrate: \(reason)") }
        case .json: writeJSON(["report": MigrateReport(record).value])
        case .text: try? write(MigrateReport(record).text)
        }
    }

    private func show(_ progress: MigrationProgress) {
        switch style {
        case .none: break
        case .json: writeJSON(progress.value)
        case .text where isTerminal:
            state.withLock { $0.hasBar = true }
            let columns = StandardError.shared.descriptor.terminalColumns ?? 80
            StandardError.shared.write("\r\u{1B}[K" + progress.bar(columns: columns))
        case .text: say(progress.line)
        }
    }

    private func removeBar() {
        let hadBar = state.withLock { state in
            defer { state.hasBar = false }
            return state.hasBar
        }
        if hadBar { StandardError.shared.write("\r\u{1B}[K") }
    }

    private func writeJSON(_ value: QMPValue) { try? write(value.text + "\n") }

    /// On a terminal Enter goes on; elsewhere somebody has to tell the monitor.
    private func askToProceed() {
        let input = OwnedDescriptor(adopting: 0)
        let isTerminal = input.isTerminal
        _ = input.release()
        guard isTerminal, style == .text else {
            return note(
                "The guest stands still before the switchover; go on with: apus qmp \(monitorPath) migrate-continue "
                    + #"'{"state": "pre-switchover"}'"#)
        }
        note("The guest stands still before the switchover. Enter: go on.")
        let isFirst = state.withLock { state in
            defer { state.readsLine = true }
            return !state.readsLine
        }
        guard isFirst, let proceed = state.withLock({ $0.proceed }) else { return }
        // Nobody waits for this thread: it ends with the program if nobody presses a key.
        _ = try? BlockingThread(name: "keyboard") { if readLine() != nil { proceed() } }
    }
}

extension MigrationProgress {
    private var parts: [String] {
        var parts = ["pass \(pass)"]
        if let memory = info.ram {
            parts.append("sent \(ByteCount(Int(clamping: memory.transferred)))")
            parts.append("left \(ByteCount(Int(clamping: memory.remaining)))")
        }
        if rate > 0 { parts.append("\(ByteCount(Int(rate)))/s") }
        if dirtyRate > 0 { parts.append("dirty \(ByteCount(Int(dirtyRate)))/s") }
        if let throttle = info.cpuThrottlePercentage { parts.append("throttle \(throttle)%") }
        // In post-copy the guest has moved: what stands there is of the last pass.
        let isMoved = info.status?.rawValue.hasPrefix("postcopy") ?? false
        if let downtime = info.expectedDowntime, !isMoved { parts.append("downtime ~\(downtime.text)") }
        if let memory = info.ram, memory.postcopyRequests > 0 {
            parts.append("\(memory.postcopyRequests) page requests")
        }
        if let postcopy = info.postcopy, let pushed = postcopy.pushedPages, let requested = postcopy.requestedPages,
            pushed + requested > 0
        {
            parts.append("pages pushed \(pushed), requested \(requested)")
        }
        if let faults = arriving?.faults, faults > 0, let latency = arriving?.latency {
            parts.append("\(faults) faults, p50 \(latency.median.text), p99 \(latency.percentile99.text)")
        }
        return parts
    }

    /// "12.0 s  pass 2  sent 512 MiB  left 100 MiB  1.1 GiB/s  dirty 200 MiB/s  downtime ~90 ms"
    var line: String { ([elapsed.text] + parts).joined(separator: "  ") }

    /// The same behind a bar, within so many columns.
    func bar(columns: Int) -> String {
        let text = " \(Int(share * 100))%  " + parts.joined(separator: "  ")
        let width = min(30, columns - text.count - 3)
        guard width >= 4 else { return String(text.dropFirst().prefix(max(0, columns - 1))) }
        let full = Int(share * Double(width))
        return "[" + String(repeating: "#", count: full) + String(repeating: "-", count: width - full) + "]" + text
    }

    var value: QMPValue {
        var object: QMPObject = ["elapsed": .number(elapsed / .seconds(1)), "pass": QMPValue(pass)]
        object["rate"] = .number(rate)
        object["migrate"] = info.value
        object["destination-postcopy"] = arriving?.value
        return .object(object)
    }
}

extension Duration {
    /// "950 us", "12.3 ms", "4.20 s".
    var text: String {
        let seconds = self / .seconds(1)
        if seconds < 0.001 { return "\(Int(seconds * 1e6)) us" }
        if seconds < 1 { return "\(Self.decimal(seconds * 1000, places: seconds < 0.1 ? 1 : 0)) ms" }
        return "\(Self.decimal(seconds, places: seconds < 10 ? 2 : 1)) s"
    }

    private static func decimal(_ value: Double, places: Int) -> String {
        let scale = [1, 10, 100][places]
        let number = Int(value * Double(scale) + 0.5)
        if places == 0 { return "\(number)" }
        let fraction = String(number % scale)
        return "\(number / scale)." + String(repeating: "0", count: places - fraction.count) + fraction
    }
}
