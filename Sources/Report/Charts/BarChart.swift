/// Horizontal bars, one below the other, each with its name before and its number behind it.
struct BarChart {
    /// One stretch of a bar.
    struct Part {
        var value: Double
        var style: String
        /// "device state: 2.1 ms"
        var hint: String
    }

    struct Bar {
        var name: String
        var parts: [Part]
        /// What stands behind it: the number as the table has it, or why there is none.
        var text: String
        /// The figure that the text tells: the row of the comparison, and its name in the JSON.
        var figure: (row: Int, name: String)?
    }

    let bars: [Bar]
    private static let rowHeight = 22.0

    private var nameWidth: Double {
        min(132, Double(bars.map(\.name.count).max() ?? 0) * 5.8 + 8)
    }

    var drawing: Drawing {
        var drawing = Drawing(height: Double(bars.count) * Self.rowHeight + 4)
        let textWidth = min(150, Double(bars.map(\.text.count).max() ?? 0) * 6.2 + 8)
        let maximum = bars.map { $0.parts.map(\.value).reduce(0, +) }.max() ?? 0
        let length = Drawing.width - nameWidth - textWidth
        let scale = Scale(to: maximum, from: 0, length: length, isExact: true)
        for (index, bar) in bars.enumerated() {
            let y = Double(index) * Self.rowHeight + 3
            drawing.text(bar.name, x: 0, y: y + 12, style: "label")
            drawing.line(nameWidth, y - 1, nameWidth, y + 17, style: "axis")
            var x = nameWidth
            for part in bar.parts {
                let width = scale.position(part.value)
                drawing.rectangle(x: x, y: y, width: width, height: 16, style: part.style, hint: part.hint)
                x += width
            }
            drawing.text(bar.text, x: x + 5, y: y + 12, style: "value", figure: bar.figure)
        }
        return drawing
    }
}
