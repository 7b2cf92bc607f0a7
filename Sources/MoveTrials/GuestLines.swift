internal import BuiltInGuest
internal import LinuxSystem
internal import MigrationRecords
internal import Synchronization

/// The lines of one guest, wherever it is: a line that began at the source may end at the destination.
final class GuestLines: Sendable {
    struct Line: Sendable {
        /// Time of day.
        var time: WallClock
        var side: MigrationRecord.Side
        var text: String
        var report: WorkReport?
    }

    private struct State {
        var begun: [UInt8] = []
        var lines: [Line] = []
    }

    private let state = Mutex(State())
    private let observer: @Sendable (Line) -> Void

    /// - Parameter observer: Called on a thread of its own, in order, for each line.
    init(_ observer: @escaping @Sendable (Line) -> Void) { self.observer = observer }

    /// Reads a monitor's output until its end.
    func read(_ descriptor: consuming OwnedDescriptor, from side: MigrationRecord.Side) throws {
        let stream = try StreamDescriptor(adopting: descriptor)
        // It ends with the process, which is waited for; nobody has to wait for the thread.
        _ = try BlockingThread(name: "guest-lines") { [self] in
            var buffer = [UInt8](repeating: 0, count: 4096)
            while let count = try? buffer.withUnsafeMutableBytes({ try stream.receive(into: $0) }), count > 0 {
                append(buffer.prefix(count), from: side)
            }
        }
    }

    private func append(_ bytes: ArraySlice<UInt8>, from side: MigrationRecord.Side) {
        let now = WallClock.now
        let new = state.withLock { state in
            var new: [Line] = []
            for byte in bytes {
                if byte != UInt8(ascii: "\n") {
                    // A guest that never ends its line is not kept for ever.
                    if state.begun.count < 4096 { state.begun.append(byte) }
                    continue
                }
                if state.begun.last == UInt8(ascii: "\r") { state.begun.removeLast() }
                let text = String(decoding: state.begun, as: UTF8.self)
                state.begun = []
                let line = Line(time: now, side: side, text: text, report: WorkReport(text))
                state.lines.append(line)
                new.append(line)
            }
            return new
        }
        new.forEach(observer)
    }

    var all: [Line] { state.withLock { $0.lines } }

    /// Lines that tell of the guest's work.
    var reports: [(line: Line, report: WorkReport)] {
        all.compactMap { line in line.report.map { (line, $0) } }
    }

    /// The first line in which the guest says that something is wrong.
    var complaint: String? {
        all.first { line in
            line.text.contains("BAD") || line.text.contains("Kernel panic") || line.text.contains("Oops")
                || line.text.hasPrefix("builtin: wrong") || line.text.hasPrefix("builtin: error")
                || line.text.hasPrefix("builtin: exception") || (line.report?.badCount ?? 0) > 0
        }?.text
    }
}

/// What a guest's line says of its work: of the built-in guest, or of the Linux guest's workload.
struct WorkReport: Equatable, Sendable {
    /// Pages written and checked.
    var work: Int
    var checkedPageCount: Int
    var badCount: Int
    /// The longest time without a look at its clock since the line before.
    var gap: Duration

    init?(_ text: String) {
        if case .report(let report) = BuiltInGuestLine(text) {
            work = report.dirtiedPageCount + report.checkedPageCount
            checkedPageCount = report.checkedPageCount
            badCount = report.badPageCount + report.badRegisterCount
            gap = .microseconds(report.gap)
            return
        }
        guard text.hasPrefix("workload: t=") else { return nil }
        var values: [Substring: Double] = [:]
        for word in text.split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1)
            if parts.count == 2, let value = Double(parts[1]), abs(value) < 1e15 { values[parts[0]] = value }
        }
        guard let dirtied = values["dirtied"], let checked = values["checked"], let gap = values["gap_ms"] else {
            return nil
        }
        work = Int(dirtied) + Int(checked)
        checkedPageCount = Int(checked)
        let wrong = values.filter { $0.key.hasSuffix("bad") || $0.key == "back" || $0.key == "disk_errors" }
        badCount = Int(wrong.values.reduce(0, +))
        self.gap = .microseconds(Int(gap * 1000))
    }
}
