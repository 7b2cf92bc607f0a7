/// A line that the built-in guest printed on its serial port.
public enum BuiltInGuestLine: Equatable, Sendable {
    /// What it found at the start.
    public struct Start: Equatable, Sendable {
        public let cpuCount: Int
        /// The guest address of the first page that is dirtied and checked.
        public let regionAddress: UInt64
        public let pageCount: Int
        /// kHz.
        public let tscFrequency: Int
        /// "sse", "avx" or "avx512": the registers whose values it watches.
        public let registers: String
    }

    /// The state of the work; counts are totals since the start.
    public struct Report: Equatable, Sendable {
        /// Milliseconds since the start, by the TSC.
        public let milliseconds: Int
        public let dirtiedPageCount: Int
        public let checkedPageCount: Int
        /// Pages whose content was wrong. Each is repaired, so that one fault is counted once.
        public let badPageCount: Int
        /// Looks at the vector registers that found a wrong value.
        public let badRegisterCount: Int
        /// Ticks of the PIT, 100 Hz.
        public let timerTickCount: Int
        /// Ticks of the LAPIC timers of all CPUs, 50 Hz each.
        public let apicTickCount: Int
        /// The longest time without a look at the clock since the last line (in `end`: ever), in microseconds.
        public let gap: Int

        /// Whether nothing was wrong so far.
        public var isClean: Bool { badPageCount == 0 && badRegisterCount == 0 }
    }

    /// The first wrong page since the last report.
    public struct Wrong: Equatable, Sendable {
        public let page: Int
        /// The index of the first wrong 64-bit word.
        public let word: Int
        public let expected: UInt64
        public let found: UInt64

        public init(page: Int, word: Int, expected: UInt64, found: UInt64) {
            self.page = page
            self.word = word
            self.expected = expected
            self.found = found
        }
    }

    case start(Start)
    case report(Report)
    case wrong(Wrong)
    /// The last line of a run with an end.
    case end(Report)
    /// A pass of `touchedPageCount` is done.
    case touched(pass: Int, pageCount: Int)
    /// It cannot go on: a parameter, a CPU that does not start, an exception.
    case failure(String)

    /// Reads a line; nil if it is none of the guest's (of firmware, or cut).
    public init?(_ text: some StringProtocol) {
        let text = text.drop { $0 == "\r" }
        guard text.hasPrefix("builtin: ") else { return nil }
        let words = text.dropFirst("builtin: ".count).split(whereSeparator: { $0 == " " || $0 == "\r" })
        guard let first = words.first else { return nil }
        var fields = Fields(words)
        switch first {
        case "start":
            let start = Start(
                cpuCount: fields.number("cpus"), regionAddress: fields.hexadecimal("region"),
                pageCount: fields.number("pages"), tscFrequency: fields.number("tsc"),
                registers: fields.text("registers"))
            self = .start(start)
        case "wrong":
            let wrong = Wrong(
                page: fields.number("page"), word: fields.number("word"), expected: fields.hexadecimal("expected"),
                found: fields.hexadecimal("found"))
            self = .wrong(wrong)
        case "touched": self = .touched(pass: fields.number("pass"), pageCount: fields.number("pages"))
        case "end": self = .end(Report(&fields))
        case "error", "exception": self = .failure(String(text.dropFirst("builtin: ".count)))
        default: self = .report(Report(&fields))
        }
        guard fields.isComplete else { return nil }
    }
}

extension BuiltInGuestLine.Report {
    fileprivate init(_ fields: inout Fields) {
        self.init(
            milliseconds: fields.number("t"), dirtiedPageCount: fields.number("dirtied"),
            checkedPageCount: fields.number("checked"), badPageCount: fields.number("bad"),
            badRegisterCount: fields.number("badregs"), timerTickCount: fields.number("pit"),
            apicTickCount: fields.number("apic"), gap: fields.number("gap"))
    }
}

/// NAME=VALUE words; remembers whether all that were asked for were there.
private struct Fields {
    private var values: [Substring: Substring] = [:]
    private(set) var isComplete = true

    init(_ words: [some StringProtocol]) {
        for word in words {
            let word = Substring(word)
            guard let sign = word.firstIndex(of: "=") else { continue }
            values[word[..<sign]] = word[word.index(after: sign)...]
        }
    }

    mutating func text(_ name: Substring) -> String {
        guard let value = values[name], !value.isEmpty else {
            isComplete = false
            return ""
        }
        return String(value)
    }

    mutating func number(_ name: Substring) -> Int {
        guard let value = Int(text(name)) else {
            isComplete = false
            return 0
        }
        return value
    }

    mutating func hexadecimal(_ name: Substring) -> UInt64 {
        guard let value = UInt64(text(name).dropFirst(2), radix: 16) else {
            isComplete = false
            return 0
        }
        return value
    }
}
