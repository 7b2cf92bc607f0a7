import LinuxSystem
import StreamTools

/// A line on the terminal that says how far reading has come, once that takes longer than a second.
///
/// It is written to standard error, and only if that is a terminal; it goes away at the end.
final class ProgressBar {
    private let action: String
    private let isShown: Bool
    private let start = ContinuousClock.now
    private var next: ContinuousClock.Instant
    private var hasDrawn = false

    /// `action` is what is being done: "reading".
    init(_ action: String) {
        self.action = action
        isShown = StandardError.shared.descriptor.isTerminal
        next = start + .seconds(1)
    }

    /// Draws the line anew if it is time to.
    func update(byteCount: Int, totalByteCount: Int?) {
        guard isShown else { return }
        let now = ContinuousClock.now
        guard now >= next else { return }
        next = now + .milliseconds(100)
        hasDrawn = true
        StandardError.shared.write(
            "\r\u{1B}[K" + line(byteCount: byteCount, totalByteCount: totalByteCount, elapsed: now - start))
    }

    /// Removes the line.
    func finish() {
        if hasDrawn { StandardError.shared.write("\r\u{1B}[K") }
        hasDrawn = false
    }

    private func line(byteCount: Int, totalByteCount: Int?, elapsed: Duration) -> String {
        let rate = Double(byteCount) / (elapsed / Duration.seconds(1))
        let text = " \(ByteCount(byteCount))  \(ByteCount(Int(rate)))/s"
        guard let totalByteCount, totalByteCount > 0 else { return action + text }
        let share = min(1, Double(byteCount) / Double(totalByteCount))
        let width = max(
            0,
            min(40, (StandardError.shared.descriptor.terminalColumns ?? 80) - action.utf8.count - text.utf8.count - 12))
        let full = Int(share * Double(width))
        let bar = String(repeating: "#", count: full) + String(repeating: "-", count: width - full)
        return "\(action) [\(bar)] \(Int(share * 100))%\(text)"
    }
}
