/// The times that one piece of work took, several times over.
struct Measurement {
    let name: String
    /// Bytes of stream or memory that one round went through.
    let byteCount: Int
    /// Pages that one round went through.
    let pageCount: Int
    private(set) var seconds: [Double] = []

    init(_ name: String, byteCount: Int, pageCount: Int) {
        self.name = name
        self.byteCount = byteCount
        self.pageCount = pageCount
    }

    /// Does `work` once, which must give `result`, and keeps the time that it took.
    mutating func add(giving result: Int, _ work: () throws -> Int) rethrows {
        let clock = ContinuousClock()
        let start = clock.now
        let found = try work()
        let time = start.duration(to: clock.now)
        precondition(found == result, "\(name): \(found) instead of \(result)")
        seconds.append(Double(time.components.seconds) + Double(time.components.attoseconds) * 1e-18)
    }

    /// The middle one of the times.
    var median: Double { seconds.sorted()[seconds.count / 2] }

    var gigabytesPerSecond: Double { Double(byteCount) / median / 1e9 }

    var nanosecondsPerPage: Double { median / Double(pageCount) * 1e9 }

    /// One line of the table.
    var line: String {
        let best = seconds.min() ?? median
        return pad(name, 44) + right(fixed(gigabytesPerSecond), 10) + right(fixed(Double(byteCount) / best / 1e9), 10)
            + right(fixed(nanosecondsPerPage), 10)
    }

    private func fixed(_ value: Double) -> String {
        let hundredths = Int(value * 100)
        return "\(hundredths / 100)." + (hundredths % 100 < 10 ? "0" : "") + "\(hundredths % 100)"
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
