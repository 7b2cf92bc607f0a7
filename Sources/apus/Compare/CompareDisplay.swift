import LinuxSystem
import MigrationClient
import MigrationRecords
import MoveTrials
import Report
import Synchronization

/// Shows on standard error what a comparison does: each move, the guest's own lines through it, and how it ended.
final class CompareDisplay: Sendable {
    private struct State {
        var lastLine: (side: MigrationRecord.Side, time: ContinuousClock.Instant)?
        /// The last line that was not shown, to be shown before one of the other side.
        var held: (side: MigrationRecord.Side, text: String)?
    }

    private let isQuiet: Bool
    private let hasColours = StandardError.shared.descriptor.isTerminal
    private let state = Mutex(State())
    /// A guest says more than a person reads.
    private static let lineInterval = Duration.milliseconds(300)

    init(isQuiet: Bool) { self.isQuiet = isQuiet }

    func show(_ event: TrialEvent) {
        if isQuiet { return }
        switch event {
        case .starting(let mode, let transport, let round):
            state.withLock { $0 = State() }
            let number = round > 1 ? ", round \(round)" : ""
            say("\n\(bold("\(mode.title) over \(transport.rawValue)\(number)")): a guest starts and works")
        case .line(let side, let text, let isReport): show(text, from: side, isReport: isReport)
        case .moving: note("it moves")
        case .migration(let report):
            switch report {
            case .progress(let progress): note(progress.line)
            case .note(let text): note(text)
            case .status, .waitsBeforeSwitchover: break
            }
        case .ended(let move): say("  " + verdict(move))
        }
    }

    /// A line among those of the guest.
    func note(_ text: String) {
        if isQuiet { return }
        let arrow = hasColours ? "\u{1B}[1m           ->\u{1B}[0m" : "           ->"
        say("\(arrow)  \(text)")
    }

    private func show(_ text: String, from side: MigrationRecord.Side, isReport: Bool) {
        let now = ContinuousClock.now
        let lines = state.withLock { state -> [(MigrationRecord.Side, String)] in
            let isOther = state.lastLine.map { $0.side != side } ?? true
            if isReport, !isOther, let last = state.lastLine, now - last.time < Self.lineInterval {
                state.held = (side, text)
                return []
            }
            var lines: [(MigrationRecord.Side, String)] = []
            // The last line at the source and the first one at the destination are those that matter.
            if isOther, let held = state.held { lines.append((held.side, held.text)) }
            state.held = nil
            state.lastLine = (side, now)
            lines.append((side, text))
            return lines
        }
        for (side, text) in lines {
            let name = String(repeating: " ", count: 11 - side.rawValue.count) + side.rawValue
            let colour = side == .source ? "36" : "32"
            say("  " + (hasColours ? "\u{1B}[\(colour)m\(name)\u{1B}[0m" : name) + "  " + shown(text))
        }
    }

    /// A guest can print anything: what steers a terminal is not passed on. On a terminal, as much as a line holds.
    private func shown(_ text: String) -> String {
        let text = String(
            String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? "?" : $0 }))
        guard let columns = StandardError.shared.descriptor.terminalColumns, text.count > columns - 15 else {
            return text
        }
        return text.prefix(max(0, columns - 17)) + "…"
    }

    private func verdict(_ move: Move) -> String {
        if let failure = move.failure { return "\(coloured("FAILED", "31")): \(failure)" }
        let figures = MoveFigures(of: move)
        func text(_ kind: Figure.Kind) -> String {
            let number = figures[kind]?.text ?? "-"
            return kind.unit.isEmpty ? number : "\(number) \(kind.unit)"
        }
        return "\(coloured("good", "32")): \(text(.totalTime)), downtime \(text(.downtime)) (the guest saw "
            + "\(text(.guestGap))), \(text(.sent)) sent, \(text(.bad)) of \(text(.checkedPages)) pages wrong"
    }

    private func bold(_ text: String) -> String { hasColours ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
    private func coloured(_ text: String, _ colour: String) -> String {
        hasColours ? "\u{1B}[\(colour)m\(text)\u{1B}[0m" : text
    }

    /// The table and what belongs to it.
    static func text(of comparison: Comparison) -> String {
        let columns = StandardOutput.shared.descriptor.terminalColumns ?? 100
        let conditions = comparison.conditions.map { "\($0.name): \($0.value)" }.joined(separator: "; ")
        let notes = comparison.notes.map { "  \($0)\n" }.joined()
        return "\n\(conditions)\n\n\(comparison.table(columns: columns))" + (notes.isEmpty ? "" : "\n\(notes)")
    }
}
