/// A picture as inline SVG: shapes in the order in which they are painted.
///
/// One unit is a pixel on a telephone; colours are classes of the page's style sheet, so that they follow light and dark.
struct Drawing {
    enum Anchor: String {
        case start
        case middle
        case end
    }

    /// Made for the narrowest screen; wider ones scale it up.
    static let width = 360.0

    let height: Double
    private var elements: [String] = []

    init(height: Double) { self.height = height }

    mutating func rectangle(
        x: Double, y: Double, width: Double, height: Double, style: String, radius: Double = 0, hint: String? = nil
    ) {
        let corner = radius > 0 ? " rx=\"\(Self.number(radius))\"" : ""
        let shape =
            "<rect class=\"\(style)\" x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" "
            + "width=\"\(Self.number(max(0, width)))\" height=\"\(Self.number(max(0, height)))\"\(corner)"
        elements.append(hint.map { "\(shape)><title>\(Self.escaped($0))</title></rect>" } ?? shape + "/>")
    }

    mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, style: String) {
        elements.append(
            "<line class=\"\(style)\" x1=\"\(Self.number(x1))\" y1=\"\(Self.number(y1))\" "
                + "x2=\"\(Self.number(x2))\" y2=\"\(Self.number(y2))\"/>")
    }

    mutating func text(
        _ text: String, x: Double, y: Double, style: String = "label", anchor: Anchor = .start,
        figure: (row: Int, name: String)? = nil
    ) {
        if text.isEmpty { return }
        let data = figure.map { " data-row=\"\($0.row)\" data-figure=\"\($0.name)\"" } ?? ""
        let place = anchor == .start ? "" : " text-anchor=\"\(anchor.rawValue)\""
        elements.append(
            "<text class=\"\(style)\" x=\"\(Self.number(x))\" y=\"\(Self.number(y))\"\(place)\(data)>"
                + "\(Self.escaped(text))</text>")
    }

    /// A line through `points`; with `base` the area between it and that height.
    mutating func path(_ points: [(x: Double, y: Double)], style: String, base: Double? = nil) {
        guard let first = points.first, let last = points.last, points.count > 1 else { return }
        var text = "M\(Self.number(first.x)) \(Self.number(first.y))"
        for point in points.dropFirst() { text += "L\(Self.number(point.x)) \(Self.number(point.y))" }
        if let base {
            text += "L\(Self.number(last.x)) \(Self.number(base))L\(Self.number(first.x)) \(Self.number(base))Z"
        }
        elements.append("<path class=\"\(style)\" d=\"\(text)\"/>")
    }

    /// The shapes alone, for a picture that has others, too.
    var body: String { elements.joined(separator: "\n") + "\n" }

    /// The picture. `title` says what it shows, `description` what is seen in it, for those who do not see it.
    func svg(title: String, description: String, id: String) -> String {
        """
        <svg viewBox="0 0 \(Self.number(Self.width)) \(Self.number(height))" role="img" \
        aria-labelledby="\(id)-title \(id)-description">
        <title id="\(id)-title">\(Self.escaped(title))</title>
        <desc id="\(id)-description">\(Self.escaped(description))</desc>
        \(body)</svg>

        """
    }

    /// At most one decimal place: less than a pixel.
    static func number(_ value: Double) -> String {
        guard value.isFinite else { return "0" }
        let text = Figure.text(value, digits: 1)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    static func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            // Control characters are not allowed in a page, and come from a monitor's words if at all.
            case "\0"..<" " where character != "\n" && character != "\t": result += "\u{FFFD}"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}
