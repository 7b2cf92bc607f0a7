/// What the downtime of one move consists of.
struct ReportDowntime {
    private let figures: MoveFigures
    private let parts: [MoveDetails.Part]

    init(_ move: Move) {
        figures = MoveFigures(of: move)
        parts = MoveDetails(of: move).downtimeParts
    }

    /// Nil when nobody tells a downtime.
    func picture(_ heading: String, _ id: String) -> String? {
        var bars: [BarChart.Bar] = []
        for kind in [Figure.Kind.downtime, .guestGap, .networkGap] {
            guard let figure = figures[kind], let value = figure.value else { continue }
            let name = kind == .downtime ? "monitor" : kind == .guestGap ? "guest's clock" : "network client"
            let part = BarChart.Part(value: value, style: "stop-bar", hint: "\(kind.title): \(figure.text) ms")
            bars.append(BarChart.Bar(name: name, parts: [part], text: "\(figure.text) ms"))
        }
        guard !bars.isEmpty else { return nil }
        for part in parts {
            let text = "\(part.text) ms"
            let bar = BarChart.Part(value: part.milliseconds, style: "part", hint: "\(Self.title(part.name)): \(text)")
            bars.append(BarChart.Bar(name: Self.title(part.name), parts: [bar], text: text))
        }
        var description = bars.flatMap(\.parts).map(\.hint).joined(separator: "; ") + "."
        if parts.isEmpty { description += " This monitor does not tell the parts." }
        let svg = BarChart(bars: bars).drawing.svg(
            title: "Downtime of \(heading) and its parts", description: description, id: "\(id)-downtime")
        return parts.isEmpty ? svg + "<p class=\"remark\">This monitor does not tell the parts.</p>\n" : svg
    }

    private static func title(_ name: String) -> String {
        switch name {
        case "pause": "pause CPUs"
        case "last-sync": "last sync"
        case "last-pages": "last pages"
        case "save": "save devices"
        case "send": "send devices"
        case "load": "load devices"
        case "resume": "resume"
        case "announce": "announce"
        default: name
        }
    }
}
