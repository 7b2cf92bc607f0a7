/// Maps values from 0 on to a length of a picture, with round numbers to mark.
struct Scale {
    /// The value at the far end: a round one.
    let limit: Double
    /// Between two marks.
    let step: Double
    let digits: Int
    private let origin: Double
    private let length: Double

    /// - Parameters:
    ///   - maximum: The largest value; 0 or less counts as 1.
    ///   - isExact: The far end is `maximum` itself, and not the next mark.
    init(to maximum: Double, from origin: Double, length: Double, markCount: Int = 4, isExact: Bool = false) {
        let maximum = maximum > 0 && maximum.isFinite ? maximum : 1
        var step = 1.0
        while step * Double(markCount) < maximum { step *= 10 }
        while step * Double(markCount) > maximum * 10 { step /= 10 }
        step = [step / 10, step / 5, step / 2.5, step / 2, step].first { $0 * Double(markCount) >= maximum } ?? step
        self.step = step
        var digits = 0
        var shown = step
        while Figure.rounded(shown, digits: 0) != Figure.rounded(shown, digits: 6), digits < 6 {
            digits += 1
            shown *= 10
        }
        self.digits = digits
        var count = 1.0
        while count * step < maximum * 0.999_999 { count += 1 }
        limit = isExact ? maximum : count * step
        self.origin = origin
        self.length = length
    }

    func position(_ value: Double) -> Double {
        guard value.isFinite else { return origin }
        return origin + min(max(value, 0), limit) / limit * length
    }

    /// The round numbers and their places.
    var marks: [(text: String, position: Double)] {
        var marks: [(String, Double)] = []
        var index = 0.0
        while index * step <= limit * 1.000_001 {
            marks.append((Self.grouped(Figure.text(index * step, digits: digits)), position(index * step)))
            index += 1
        }
        return marks
    }

    /// "12000" as "12 000", with a narrow space.
    static func grouped(_ text: String) -> String {
        let parts = text.split(separator: ".", maxSplits: 1)
        guard let whole = parts.first, whole.count > 4, whole.allSatisfy(\.isNumber) else { return text }
        var groups: [Substring] = []
        var rest = whole
        while !rest.isEmpty {
            groups.insert(rest.suffix(3), at: 0)
            rest = rest.dropLast(3)
        }
        return groups.joined(separator: "\u{202F}") + (parts.count > 1 ? "." + parts[1] : "")
    }
}
