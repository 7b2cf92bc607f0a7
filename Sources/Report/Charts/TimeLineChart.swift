/// One migration over time: its phases, bandwidth and dirty rate, what remains, and how fast the guest works.
struct TimeLineChart {
    private typealias Line = (style: String, points: KeyPath<MoveSeries, [MoveSeries.Point]>)

    private let series: MoveSeries
    private let others: [MoveSeries]
    private let time: Scale
    private static let left = 46.0
    private static let right = 8.0
    private static let panelHeight = 74.0
    private static let panelGap = 32.0

    /// - Parameters:
    ///   - seconds: How much time is shown; charts that are to be compared show the same.
    ///   - others: Moves whose charts are to have the same scales.
    init(_ series: MoveSeries, seconds: Double, besides others: [MoveSeries] = []) {
        self.series = series
        self.others = others
        time = Scale(
            to: seconds, from: Self.left, length: Drawing.width - Self.left - Self.right, markCount: 6, isExact: true)
    }

    /// How much time a migration needs: the guest is shown a little longer than the monitor is at work.
    static func seconds(of series: MoveSeries) -> Double { max(series.end, 0.05) * 1.15 }

    var picture: (drawing: Drawing, description: String) {
        let showsGuest = (others + [series]).contains { !$0.guestSpeed.isEmpty || !$0.throttle.isEmpty }
        var drawing = Drawing(height: 46 + (showsGuest ? 3 : 2) * (Self.panelHeight + Self.panelGap))
        drawPhases(in: &drawing)
        var top = 62.0
        let rates: [Line] = [("bandwidth", \.bandwidth), ("dirty-rate", \.dirtyRate)]
        drawPanel("Bandwidth and dirty rate, MiB/s", rates, at: top, isFilled: false, in: &drawing)
        top += Self.panelHeight + Self.panelGap
        drawPanel("Memory still to send, MiB", [("remaining", \.remaining)], at: top, isFilled: true, in: &drawing)
        if showsGuest {
            top += Self.panelHeight + Self.panelGap
            let speeds: [Line] = [("speed", \.guestSpeed), ("throttle", \.throttle)]
            drawPanel("The guest's speed, % of before", speeds, at: top, isFilled: false, in: &drawing)
        }
        drawTime(at: top + Self.panelHeight, in: &drawing)
        return (drawing, description)
    }

    private var description: String {
        let phases = series.phases.map {
            "\($0.name) from \(Figure.text($0.start, digits: 2)) to \(Figure.text($0.end, digits: 2)) s"
        }
        var text = phases.isEmpty ? "The phases are not known." : "Phases: \(phases.joined(separator: ", "))."
        if let peak = series.bandwidth.map(\.value).max() {
            text += " Bandwidth up to \(Figure.text(peak, digits: 0)) MiB/s."
        }
        let during = series.guestSpeed.filter { $0.time > 0 && $0.time <= series.end }
        if let slowest = during.map(\.value).min() {
            text += " The guest's speed fell to \(Figure.text(slowest, digits: 0)) % of that before."
        }
        return text
    }

    private func drawPhases(in drawing: inout Drawing) {
        let (top, height) = (18.0, 16.0)
        drawing.text("Phases", x: 0, y: 11, style: "heading")
        var nextFreeX = Self.left
        for phase in series.phases {
            let (start, end) = (time.position(phase.start), time.position(phase.end))
            let hint =
                "\(phase.name): \(Figure.text(phase.start * 1000, digits: 1)) to "
                + "\(Figure.text(phase.end * 1000, digits: 1)) ms"
            drawing.rectangle(
                x: start, y: top, width: max(1.5, end - start), height: height, style: "phase \(phase.name)", hint: hint
            )
            // A name that does not fit stands in the legend only.
            if end - start > Double(phase.name.count) * 6 + 8, start >= nextFreeX - 1 {
                drawing.text(phase.name, x: (start + end) / 2, y: top + 11.5, style: "in-phase", anchor: .middle)
                nextFreeX = end
            }
        }
    }

    private func drawPanel(
        _ title: String, _ lines: [Line], at top: Double, isFilled: Bool,
        in drawing: inout Drawing
    ) {
        let bottom = top + Self.panelHeight
        let shown = lines.map { line in (line.style, points(line, of: series)) }
        let maximum =
            (others + [series]).flatMap { each in lines.flatMap { points($0, of: each) } }.map(\.value).max() ?? 0
        let values = Scale(to: maximum, from: 0, length: Self.panelHeight, markCount: 3)
        drawing.text(title, x: 0, y: top - 10, style: "heading")
        for mark in values.marks {
            let y = bottom - mark.position
            drawing.line(Self.left, y, Drawing.width - Self.right, y, style: mark.position == 0 ? "axis" : "grid")
            drawing.text(mark.text, x: Self.left - 4, y: y + 3.5, style: "mark", anchor: .end)
        }
        drawStop(from: top, to: bottom, in: &drawing)
        var hasPoints = false
        for (style, points) in shown where !points.isEmpty {
            hasPoints = true
            if isFilled {
                let path = points.map { (time.position($0.time), bottom - values.position($0.value)) }
                drawing.path(path, style: "area \(style)", base: bottom)
                drawing.path(path, style: "line \(style)")
            } else {
                drawing.path(steps(points, values, bottom), style: "line \(style)")
            }
        }
        if !hasPoints {
            drawing.text(
                "not known", x: (Self.left + Drawing.width) / 2, y: (top + bottom) / 2, style: "mark", anchor: .middle)
        }
    }

    /// Those in the time that is shown; of a span that reaches beyond it the part that is.
    private func points(_ line: Line, of series: MoveSeries) -> [MoveSeries.Point] {
        let points = series[keyPath: line.points].filter { $0.time > -0.001 }
        let next = points.first { $0.time > time.limit }.map { MoveSeries.Point(time: time.limit, value: $0.value) }
        return points.filter { $0.time <= time.limit } + [next].compactMap(\.self)
    }

    /// Each value holds for the time since the point before.
    private func steps(_ points: [MoveSeries.Point], _ values: Scale, _ bottom: Double) -> [(x: Double, y: Double)] {
        var path: [(x: Double, y: Double)] = []
        var start = 0.0
        for point in points {
            let y = bottom - values.position(point.value)
            path.append((time.position(start), y))
            path.append((time.position(point.time), y))
            start = point.time
        }
        return path
    }

    private func drawStop(from top: Double, to bottom: Double, in drawing: inout Drawing) {
        guard let stop = series.stop else { return }
        let start = time.position(stop.lowerBound)
        let length = Figure.text((stop.upperBound - stop.lowerBound) * 1000, digits: 1)
        drawing.rectangle(
            x: start, y: top, width: max(1.5, time.position(stop.upperBound) - start), height: bottom - top,
            style: "stop", hint: "no side runs the guest for \(length) ms")
    }

    private func drawTime(at bottom: Double, in drawing: inout Drawing) {
        let marks = time.marks
        for (index, mark) in marks.enumerated() {
            drawing.line(mark.position, bottom, mark.position, bottom + 3, style: "axis")
            let text = index == marks.count - 1 ? mark.text + " s" : mark.text
            drawing.text(text, x: mark.position, y: bottom + 13, style: "mark", anchor: .middle)
        }
    }

    /// What the colours mean, for the page's legend: only what is in the picture.
    var legend: [(style: String, text: String)] {
        var legend: [(String, String)] = []
        if !series.bandwidth.isEmpty { legend.append(("bandwidth", "bandwidth")) }
        if !series.dirtyRate.isEmpty { legend.append(("dirty-rate", "dirty rate")) }
        if !series.remaining.isEmpty { legend.append(("remaining", "still to send")) }
        if !series.guestSpeed.isEmpty { legend.append(("speed", "guest's speed")) }
        if !series.throttle.isEmpty { legend.append(("throttle", "throttle, %")) }
        if series.stop != nil { legend.append(("stop", "no side runs the guest")) }
        for name in series.phases.map(\.name) where !legend.contains(where: { $0.0 == "phase \(name)" }) {
            legend.append(("phase \(name)", name))
        }
        return legend
    }
}
