internal import MigrationRecords
internal import QMP

/// A comparison as one HTML file: pictures inside, no script, nothing fetched; for screens of any width and for paper.
///
/// Each number that is shown stands in an element with `data-row` and `data-figure`, so that a program finds it again.
public struct ReportPage {
    private let comparison: Comparison
    private let longest: Double

    public init(_ comparison: Comparison) {
        self.comparison = comparison
        let times = comparison.rows.compactMap(\.typicalMove).map { TimeLineChart.seconds(of: MoveSeries(of: $0)) }
        // Time lines share one scale as long as the shortest can still be read.
        longest = (times.max() ?? 1) <= 5 * (times.min() ?? 1) ? times.max() ?? 1 : 0
    }

    /// The whole file.
    public var html: String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>\(Self.escaped(comparison.title))</title>
        <style>
        \(PageStyle.text)</style>
        </head>
        <body>
        <header>
        <h1>\(Self.escaped(comparison.title))</h1>
        <p class="date">\(Self.day(comparison.date.seconds))</p>
        \(conditions)</header>
        <main>
        \(verdict)\(sideBySide)\(comparison.rows.enumerated().map { section($1, number: $0) }.joined())\(stillness)\
        \(meanings)</main>
        <footer>Made by Apus. All figures are of this one run.</footer>
        </body>
        </html>

        """
    }

    private var conditions: String {
        let items = comparison.conditions.map {
            "<div><dt>\(Self.escaped($0.name))</dt><dd>\(Self.escaped($0.value))</dd></div>\n"
        }
        return "<dl class=\"conditions\">\n\(items.joined())</dl>\n"
    }

    private var verdict: String {
        let failures = comparison.rows.compactMap { row in
            row.failure.map {
                "<p class=\"failure\"><strong>\(Self.escaped(comparison.title(of: row))) failed.</strong> "
                    + "\(Self.escaped($0))</p>\n"
            }
        }
        return failures.joined()
    }

    // MARK: Side by side

    private var sideBySide: String {
        let isOne = comparison.rows.count == 1
        var text = "<section>\n<h2>\(isOne ? "Figures" : "Side by side")</h2>\n" + table
        let remarks = comparison.missing + comparison.remarks
        if !remarks.isEmpty {
            text += "<ul class=\"remarks\">\n" + remarks.map { "<li>\(Self.escaped($0))</li>\n" }.joined() + "</ul>\n"
        }
        if !isOne { text += "<div class=\"pictures\">\n" + ReportBars(comparison).figures + "</div>\n" }
        return text + "</section>\n"
    }

    private var table: String {
        var text = "<div class=\"table\"><table>\n<thead><tr><th scope=\"col\"></th>"
        for (index, row) in comparison.rows.enumerated() {
            let title = Self.escaped(comparison.title(of: row))
            text += "<th scope=\"col\"><span class=\"key row-\(index % 6)\"></span>\(title)</th>"
        }
        text += "</tr></thead>\n<tbody>\n"
        let figures = comparison.rows.map(\.figures)
        for kind in comparison.knownKinds {
            let unit = kind.unit.isEmpty ? "" : " <span class=\"unit\">\(kind.unit)</span>"
            text += "<tr><th scope=\"row\">\(Self.escaped(kind.title))\(unit)</th>"
            for (index, each) in figures.enumerated() {
                let value = each[kind]?.text ?? "-"
                text += "<td data-row=\"\(index)\" data-figure=\"\(kind.name)\">\(Self.escaped(value))</td>"
            }
            text += "</tr>\n"
        }
        text += "<tr><th scope=\"row\">Result</th>"
        for row in comparison.rows {
            text += row.failure == nil ? "<td class=\"good\">good</td>" : "<td class=\"bad\">FAILED</td>"
        }
        return text + "</tr>\n</tbody>\n</table></div>\n"
    }

    // MARK: One move

    private func section(_ row: Comparison.Row, number: Int) -> String {
        guard let move = row.typicalMove, move.record != nil else { return "" }
        let series = MoveSeries(of: move)
        var heading = comparison.title(of: row)
        if row.moves.count > 1 { heading += ": the median of \(row.moves.count) rounds" }
        let key = comparison.rows.count > 1 ? "<span class=\"key row-\(number % 6)\"></span>" : ""
        var text = "<section>\n<h2>\(key)\(Self.escaped(heading))</h2>\n<div class=\"pictures of-move\">\n"
        let id = "move-\(number)"
        let seconds = longest > 0 ? longest : TimeLineChart.seconds(of: series)
        let others = longest > 0 ? comparison.rows.compactMap(\.typicalMove).map(MoveSeries.init(of:)) : []
        let chart = TimeLineChart(series, seconds: seconds, besides: others)
        let (drawing, description) = chart.picture
        text += Self.figure(
            "Time line", drawing.svg(title: "Time line of \(heading)", description: description, id: "\(id)-time"),
            legend: chart.legend)
        text += passes(series, heading, id)
        text += downtime(move, heading, id)
        return text + "</div>\n</section>\n"
    }

    private func passes(_ series: MoveSeries, _ heading: String, _ id: String) -> String {
        guard !series.passes.isEmpty else { return "" }
        let groups = series.passes.map { pass in
            let name = pass.isPostcopy ? "post-copy" : String(pass.number)
            let hint =
                "\(pass.isPostcopy ? name : "pass \(name)"): \(pass.normalPageCount) pages with content, "
                + "\(pass.zeroPageCount) of zeros"
            return ColumnChart.Group(
                name: name,
                columns: [
                    ColumnChart.Column(
                        parts: [(Double(pass.normalPageCount), "normal"), (Double(pass.zeroPageCount), "zero")],
                        hint: hint)
                ])
        }
        let chart = ColumnChart(groups: groups, heightTitle: "pages sent", groupTitle: "pass")
        let description = groups.map { $0.columns[0].hint }.joined(separator: "; ") + "."
        return Self.figure(
            "Pages per pass",
            chart.drawing.svg(title: "Pages per pass of \(heading)", description: description, id: "\(id)-passes"),
            legend: [("normal", "pages with content"), ("zero", "pages of zeros")])
    }

    private func downtime(_ move: Move, _ heading: String, _ id: String) -> String {
        let downtime = ReportDowntime(move)
        guard let picture = downtime.picture(heading, id) else { return "" }
        return Self.figure("Downtime and its parts", picture, legend: [])
    }

    // MARK: Latencies

    private var stillness: String {
        let histogram = ReportHistogram(comparison)
        return histogram.isEmpty ? "" : "<section>\n\(histogram.section)</section>\n"
    }

    private var meanings: String {
        let items = comparison.knownKinds.map {
            "<div><dt>\(Self.escaped($0.title))</dt><dd>\(Self.escaped($0.meaning))</dd></div>\n"
        }
        return
            "<section>\n<h2>What the figures mean</h2>\n<dl class=\"meanings\">\n\(items.joined())</dl>\n</section>\n"
    }

    /// A picture with its caption and the meaning of its colours.
    static func figure(_ caption: String, _ picture: String, legend: [(style: String, text: String)]) -> String {
        let keys = legend.map { "<li><span class=\"key \($0.style)\"></span>\(escaped($0.text))</li>\n" }
        let list = keys.isEmpty ? "" : "<ul class=\"legend\">\n\(keys.joined())</ul>\n"
        return "<figure>\n<figcaption>\(escaped(caption))</figcaption>\n\(picture)\(list)</figure>\n"
    }

    static func escaped(_ text: String) -> String { Drawing.escaped(text) }

    /// Seconds since 1970 as "2026-11-23 23:54 UTC".
    static func day(_ seconds: Int64) -> String {
        let seconds = min(max(seconds, 0), 1 << 40)
        // Days in years that begin in March, by Howard Hinnant's rule.
        let days = seconds / 86_400 + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(year)-\(two(month))-\(two(day)) \(two(seconds / 3600 % 24)):\(two(seconds / 60 % 60)) UTC"
    }
}
