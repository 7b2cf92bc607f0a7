public import QMP

/// One number of a report, rounded once: the table, the page and the JSON show the same.
public struct Figure: Equatable, Sendable {
    /// What a figure is, in which unit, and with how many decimal places.
    public struct Kind: Equatable, Sendable {
        /// The member of the JSON object: "downtime-ms".
        public let name: String
        /// "Downtime, by the monitor"
        public let title: String
        /// The column's heading in a table of text: "downtime".
        public let heading: String
        /// "ms"; empty for counts.
        public let unit: String
        public let digits: Int
        /// One sentence: how it is measured.
        public let meaning: String
    }

    public let kind: Kind
    /// Nil when it is not known; `reason` may say why.
    public let value: Double?
    public let reason: String?

    init(_ kind: Kind, _ value: Double?, reason: String? = nil) {
        self.kind = kind
        self.value = value.map { Figure.rounded($0, digits: kind.digits) }
        self.reason = value == nil ? reason : nil
    }

    /// The number alone: "8.4", or "-" when it is not known.
    public var text: String { value.map { Figure.text($0, digits: kind.digits) } ?? "-" }

    public var json: QMPValue {
        guard let value else { return .null }
        return kind.digits == 0 ? QMPValue(Figure.integer(value)) : .number(value)
    }

    static func rounded(_ value: Double, digits: Int) -> Double {
        let scale = power(digits)
        let scaled = value * scale
        guard scaled.magnitude < 1e15 else { return value }
        return Double(integer(scaled < 0 ? scaled - 0.5 : scaled + 0.5)) / scale
    }

    /// A number with a fixed count of decimal places.
    static func text(_ value: Double, digits: Int) -> String {
        let scaled = value * power(digits)
        let whole = integer(scaled.magnitude + 0.5)
        let sign = value < 0 && whole > 0 ? "-" : ""
        guard digits > 0 else { return sign + String(whole) }
        let divisor = integer(power(digits))
        let places = String(whole % divisor)
        return sign + "\(whole / divisor)." + String(repeating: "0", count: digits - places.count) + places
    }

    /// Towards zero; what does not fit is the nearest that does.
    static func integer(_ value: Double) -> Int {
        if value.isNaN { return 0 }
        return value >= 9.2e18 ? Int.max : value <= -9.2e18 ? Int.min : Int(value)
    }

    private static func power(_ digits: Int) -> Double {
        (0..<digits).reduce(1.0) { power, _ in power * 10 }
    }
}
