/// Columns in groups above a named axis: how often something was so long, or what each pass sent.
struct ColumnChart {
    struct Column {
        /// From the bottom up.
        var parts: [(value: Double, style: String)]
        var hint: String
    }

    struct Group {
        var name: String
        var columns: [Column]
    }

    let groups: [Group]
    /// What the height is: "pages".
    let heightTitle: String
    /// What the groups are: "pass".
    let groupTitle: String
    private static let left = 46.0
    private static let plotHeight = 110.0

    var drawing: Drawing {
        var drawing = Drawing(height: Self.plotHeight + 56)
        let (top, bottom) = (24.0, 24.0 + Self.plotHeight)
        let maximum = groups.flatMap(\.columns).map { $0.parts.map(\.value).reduce(0, +) }.max() ?? 0
        let values = Scale(to: maximum, from: 0, length: Self.plotHeight, markCount: 4)
        drawing.text(heightTitle, x: 0, y: 9, style: "heading")
        for mark in values.marks where mark.position == 0 || values.step >= 1 || maximum < 1 {
            let y = bottom - mark.position
            drawing.line(Self.left, y, Drawing.width, y, style: mark.position == 0 ? "axis" : "grid")
            drawing.text(mark.text, x: Self.left - 4, y: y + 3.5, style: "mark", anchor: .end)
        }
        let slot = (Drawing.width - Self.left) / Double(max(1, groups.count))
        // As many names as there is room for.
        let nameWidth = Double(groups.map(\.name.count).max() ?? 1) * 5.6 + 4
        let every = max(1, Figure.integer(nameWidth / slot) + (nameWidth > slot ? 1 : 0))
        for (index, group) in groups.enumerated() {
            let start = Self.left + Double(index) * slot
            draw(group, x: start + slot * 0.12, width: slot * 0.76, bottom: bottom, top: top, values, in: &drawing)
            if index % every == 0 {
                drawing.text(group.name, x: start + slot / 2, y: bottom + 13, style: "mark", anchor: .middle)
            }
        }
        drawing.text(groupTitle, x: (Self.left + Drawing.width) / 2, y: bottom + 28, style: "heading", anchor: .middle)
        return drawing
    }

    private func draw(
        _ group: Group, x: Double, width: Double, bottom: Double, top: Double, _ values: Scale,
        in drawing: inout Drawing
    ) {
        let columnWidth = min(26, width / Double(max(1, group.columns.count)))
        var x = x + (width - columnWidth * Double(group.columns.count)) / 2
        for column in group.columns {
            var y = bottom
            for part in column.parts where part.value > 0 {
                // What is there at all is seen.
                let height = max(1, values.position(part.value))
                y -= height
                drawing.rectangle(
                    x: x + 0.5, y: y, width: columnWidth - 1, height: height, style: part.style, hint: column.hint)
            }
            x += columnWidth
        }
    }
}
