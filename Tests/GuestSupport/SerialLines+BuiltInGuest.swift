public import BuiltInGuest

extension SerialLines {
    /// What the built-in guest has said so far.
    public var guestLines: [BuiltInGuestLine] { all.compactMap { BuiltInGuestLine($0) } }

    /// Waits for the guest's first line.
    public func waitForStart(for limit: Duration = .seconds(60)) -> BuiltInGuestLine.Start? {
        waitForLine(for: limit) { if case .start(let start) = $0 { start } else { nil } }
    }

    /// Waits for a report that satisfies `condition`, among those after the first `count` lines.
    public func waitForReport(
        after count: Int = 0, for limit: Duration = .seconds(60),
        where condition: (BuiltInGuestLine.Report) -> Bool = { _ in true }
    ) -> BuiltInGuestLine.Report? {
        waitForLine(after: count, for: limit) { line in
            if case .report(let report) = line, condition(report) { report } else { nil }
        }
    }

    /// Waits for the last line of a run with an end.
    public func waitForEnd(for limit: Duration = .seconds(60)) -> BuiltInGuestLine.Report? {
        waitForLine(for: limit) { if case .end(let end) = $0 { end } else { nil } }
    }

    /// Waits until a pass over the touched pages is done.
    public func waitForTouched(pass: Int, for limit: Duration = .seconds(60)) -> Bool {
        waitForLine(for: limit) { if case .touched(pass, _) = $0 { true } else { nil } } ?? false
    }

    /// The first value that `find` gives for a line after the first `count`.
    public func waitForLine<Value>(
        after count: Int = 0, for limit: Duration = .seconds(60), _ find: (BuiltInGuestLine) -> Value?
    ) -> Value? {
        wait(for: limit) { lines in
            for text in lines.dropFirst(count) {
                if let line = BuiltInGuestLine(text), let value = find(line) { return value }
            }
            return nil
        }
    }
}
