internal import QMP

/// The moves of a comparison beside each other, a picture for each kind of cost.
struct ReportBars {
    private let comparison: Comparison

    init(_ comparison: Comparison) { self.comparison = comparison }

    /// All pictures that have something to show.
    var figures: String {
        var text = picture("Total time", [.totalTime], id: "total")
        text += picture("Downtime, as each saw it", [.downtime, .guestGap, .networkGap], id: "downtime")
        text += picture("Sent, in memories", [.ratio], id: "ratio")
        text += picture("Work that the guest lost", [.lostWork], id: "lost")
        text += picture("The guest's speed meanwhile", [.guestSpeed], id: "speed")
        return text + picture("Processor time of both monitors", [.sourceCost, .destinationCost], id: "cost")
    }

    private func picture(_ caption: String, _ kinds: [Figure.Kind], id: String) -> String {
        var bars: [BarChart.Bar] = []
        for (index, row) in comparison.rows.enumerated() {
            let figures = row.figures
            let known = kinds.filter { figures[$0]?.value != nil }
            for kind in known {
                guard let figure = figures[kind], let value = figure.value else { continue }
                var name = comparison.title(of: row)
                if kinds.count > 1 { name = kind == known.first ? name : "" }
                let unit = kind.unit.isEmpty ? "" : kind.unit == "×" ? " ×" : " \(kind.unit)"
                let text = figure.text + unit + (kinds.count > 1 ? Self.suffix(kind) : "")
                bars.append(
                    BarChart.Bar(
                        name: name,
                        parts: [
                            BarChart.Part(
                                value: value, style: "row-\(index % 6)\(kind == kinds.first ? "" : " weaker")",
                                hint: "\(comparison.title(of: row)): \(kind.title) \(text)")
                        ], text: text, figure: (index, kind.name)))
            }
            if known.isEmpty, row.failure != nil {
                bars.append(BarChart.Bar(name: comparison.title(of: row), parts: [], text: "failed"))
            }
        }
        guard bars.contains(where: { !$0.parts.isEmpty }) else { return "" }
        let description = bars.flatMap(\.parts).map(\.hint).joined(separator: "; ") + "."
        let svg = BarChart(bars: bars).drawing.svg(title: caption, description: description, id: "bars-\(id)")
        return ReportPage.figure(caption, svg, legend: [])
    }

    /// Who saw it, behind the number of a bar.
    private static func suffix(_ kind: Figure.Kind) -> String {
        switch kind {
        case .downtime: " monitor"
        case .guestGap: " guest"
        case .networkGap: " client"
        case .sourceCost: " source"
        case .destinationCost: " dest."
        default: ""
        }
    }
}
