/// How often the guest stood still for how long, and how long it waited for pages.
struct ReportHistogram {
    private let comparison: Comparison
    private let gaps: [(row: Int, buckets: [Double])]
    private let faults: [(row: Int, buckets: [Double])]

    init(_ comparison: Comparison) {
        self.comparison = comparison
        let details = comparison.rows.enumerated().compactMap { index, row in
            row.typicalMove.map { (row: index, details: MoveDetails(of: $0)) }
        }
        gaps = details.map { ($0.row, $0.details.pauses) }.filter { !$0.1.isEmpty }
        faults = details.map { ($0.row, $0.details.waits) }.filter { !$0.1.isEmpty }
    }

    var isEmpty: Bool { gaps.isEmpty && faults.isEmpty }

    var section: String {
        var text = "<h2>How long the guest stood still</h2>\n<div class=\"pictures\">\n"
        if !gaps.isEmpty {
            text += picture(
                "The guest's longest pause in each of its lines", gaps, id: "gaps", heightTitle: "lines of the guest",
                groupTitle: "longest pause, up to"
            ) { Self.time(microseconds: MoveDetails.pauseLimit($0)) }
        }
        if !faults.isEmpty {
            text += picture(
                "Waits for missing pages in post-copy", faults, id: "faults", heightTitle: "faults",
                groupTitle: "wait, up to"
            ) { Self.time(microseconds: MoveDetails.waitLimit($0)) }
        }
        return text + "</div>\n"
    }

    private static func time(microseconds: Double) -> String {
        if microseconds < 1000 { return "\(Figure.text(microseconds, digits: 0)) µs" }
        if microseconds < 1_000_000 { return "\(Figure.text(microseconds / 1000, digits: 0)) ms" }
        return "\(Figure.text(microseconds / 1_000_000, digits: 0)) s"
    }

    private func picture(
        _ caption: String, _ rows: [(row: Int, buckets: [Double])], id: String, heightTitle: String,
        groupTitle: String, name: (Int) -> String
    ) -> String {
        let first = rows.compactMap { $0.buckets.firstIndex { $0 > 0 } }.min() ?? 0
        let last = rows.compactMap { $0.buckets.lastIndex { $0 > 0 } }.max() ?? 0
        var sentences: [String] = []
        let groups = (first...max(first, last)).map { bucket in
            ColumnChart.Group(
                name: name(bucket),
                columns: rows.map { row in
                    let count = bucket < row.buckets.count ? row.buckets[bucket] : 0
                    let hint =
                        "\(comparison.title(of: comparison.rows[row.row])): \(Figure.text(count, digits: 0)) "
                        + "up to \(name(bucket))"
                    if count > 0 { sentences.append(hint) }
                    return ColumnChart.Column(parts: [(count, "row-\(row.row % 6)")], hint: hint)
                })
        }
        let chart = ColumnChart(groups: groups, heightTitle: heightTitle, groupTitle: groupTitle)
        let svg = chart.drawing.svg(title: caption, description: sentences.joined(separator: "; ") + ".", id: id)
        let legend = rows.map { ("row-\($0.row % 6)", comparison.title(of: comparison.rows[$0.row])) }
        return ReportPage.figure(caption, svg, legend: legend)
    }
}
