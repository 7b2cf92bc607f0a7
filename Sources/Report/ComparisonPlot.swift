/// The time lines of all moves beside each other, as one SVG file for documents.
public struct ComparisonPlot {
    private let comparison: Comparison
    private static let margin = 20.0
    private static let gap = 28.0
    private static let heading = 60.0
    private static let columns = 3

    public init(_ comparison: Comparison) { self.comparison = comparison }

    /// The whole file.
    public var svg: String {
        let shown = comparison.rows.enumerated().filter { $0.element.typicalMove?.record != nil }
        let series = shown.map { $0.element.typicalMove.map(MoveSeries.init(of:)) }.compactMap(\.self)
        let longest = series.map(TimeLineChart.seconds(of:)).max() ?? 1
        let charts = series.map { TimeLineChart($0, seconds: longest, besides: series) }
        let pictures = charts.map(\.picture)
        let cellHeight = (pictures.map(\.drawing.height).max() ?? 0) + Self.heading
        let columnCount = max(1, min(Self.columns, shown.count))
        let lineCount = (shown.count + columnCount - 1) / columnCount
        let width = Self.margin * 2 + Double(columnCount) * (Drawing.width + Self.gap) - Self.gap
        let conditions = conditions(width: width - 2 * Self.margin)
        let top = Self.margin + 30 + Double(conditions.count) * 15
        let legendTop = top + Double(lineCount) * (cellHeight + Self.gap)
        var body = text(comparison.title, Self.margin, Self.margin + 12, "title")
        for (index, line) in conditions.enumerated() {
            body += text(line, Self.margin, Self.margin + 31 + Double(index) * 15, "heading")
        }
        for (index, (number, row)) in shown.enumerated() {
            let x = Self.margin + Double(index % columnCount) * (Drawing.width + Self.gap)
            let y = top + Double(index / columnCount) * (cellHeight + Self.gap)
            body += "<rect class=\"row-\(number % 6)\" x=\"\(Drawing.number(x))\" y=\"\(Drawing.number(y + 3))\" "
            body += "width=\"11\" height=\"11\" rx=\"2\"/>\n"
            body += text(comparison.title(of: row), x + 17, y + 13, "row-title")
            for (index, line) in summary(row).enumerated() {
                body += text(line, x, y + 29 + Double(index) * 14, "label")
            }
            body += "<g transform=\"translate(\(Drawing.number(x)) \(Drawing.number(y + Self.heading)))\">\n"
            body += pictures[index].drawing.body + "</g>\n"
        }
        let legend = legend(charts, at: legendTop, width: width)
        body += legend.body
        let description = zip(shown, pictures).map {
            "\(comparison.title(of: $0.element)): \(summary($0.element).joined(separator: ", ")). \($1.description)"
        }
        return file(body, width: width, height: legend.bottom, description: description.joined(separator: " "))
    }

    /// What was the same for all, in lines of at most this width.
    private func conditions(width: Double) -> [String] {
        var lines: [String] = []
        for condition in comparison.conditions.map({ "\($0.name): \($0.value)" }) {
            let joined = (lines.last.map { $0 + "; " } ?? "") + condition
            if Double(joined.count) * 6 <= width, !lines.isEmpty {
                lines[lines.count - 1] = joined
            } else {
                lines.append(condition)
            }
        }
        return lines
    }

    /// "1034 ms, downtime 8 ms", "sent 1.20 × memory, lost 400 ms of work"
    private func summary(_ row: Comparison.Row) -> [String] {
        let figures = row.figures
        func words(_ parts: [(Figure.Kind, String, String)]) -> String {
            parts.compactMap { kind, before, after in
                figures[kind].flatMap { $0.value == nil ? nil : "\(before)\($0.text)\(after)" }
            }.joined(separator: ", ")
        }
        let failure = row.failure == nil ? "" : "FAILED. "
        return [
            failure + words([(.totalTime, "", " ms in all"), (.downtime, "downtime ", " ms")]),
            words([(.ratio, "sent ", " × memory"), (.lostWork, "lost ", " ms of work")]),
        ]
    }

    private func legend(_ charts: [TimeLineChart], at y: Double, width: Double) -> (body: String, bottom: Double) {
        var entries: [(style: String, text: String)] = []
        for entry in charts.flatMap(\.legend) where !entries.contains(where: { $0.style == entry.style }) {
            entries.append(entry)
        }
        var body = ""
        var (x, y) = (Self.margin, y)
        for entry in entries {
            let entryWidth = 21 + Double(entry.text.count) * 6.4 + 18
            if x + entryWidth > width { (x, y) = (Self.margin, y + 20) }
            let isLine = !entry.style.hasPrefix("phase") && entry.style != "stop"
            let style = isLine ? "line \(entry.style)" : Drawing.escaped(entry.style)
            body +=
                isLine
                ? "<line class=\"\(style)\" x1=\"\(Drawing.number(x))\" y1=\"\(Drawing.number(y + 6))\" "
                    + "x2=\"\(Drawing.number(x + 16))\" y2=\"\(Drawing.number(y + 6))\"/>\n"
                : "<rect class=\"\(style)\" x=\"\(Drawing.number(x))\" y=\"\(Drawing.number(y))\" width=\"16\" height=\"11\"/>\n"
            body += text(entry.text, x + 21, y + 10, "label")
            x += entryWidth
        }
        return (body, y + 34)
    }

    private func text(_ text: String, _ x: Double, _ y: Double, _ style: String) -> String {
        "<text class=\"\(style)\" x=\"\(Drawing.number(x))\" y=\"\(Drawing.number(y))\">\(Drawing.escaped(text))</text>\n"
    }

    private func file(_ body: String, width: Double, height: Double, description: String) -> String {
        let size = "width=\"\(Drawing.number(width))\" height=\"\(Drawing.number(height))\""
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Drawing.number(width)) \(Drawing.number(height))" \
            \(size) role="img" aria-labelledby="plot-title plot-description">
            <title id="plot-title">\(Drawing.escaped(comparison.title))</title>
            <desc id="plot-description">\(Drawing.escaped(description))</desc>
            <style>\(PageStyle.text)
            svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
            svg .title{font-size:17px;font-weight:600}svg .row-title{font-size:14px;font-weight:600}
            .plot-ground{fill:var(--card)}</style>
            <rect class="plot-ground" \(size) rx="8"/>
            \(body)</svg>

            """
    }
}
