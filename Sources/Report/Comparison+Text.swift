extension Comparison {
    /// The table for a terminal: figures below each other, moves beside each other, as many as `columns` allow.
    public func table(columns: Int) -> String {
        let kinds = knownKinds
        let nameWidth = (kinds.map { Self.name($0).count }.max() ?? 0) + 2
        let cells = rows.map { row -> [String] in
            let figures = row.figures
            let values = kinds.map { kind in figures[kind]?.text ?? "-" }
            return [title(of: row)] + values + [row.failure == nil ? "good" : "FAILED"]
        }
        let cellWidth = (cells.flatMap(\.self).map(\.count).max() ?? 0) + 3
        let count = max(1, (columns - nameWidth) / cellWidth)
        var text = ""
        var start = 0
        while start < cells.count {
            let block = cells[start..<min(cells.count, start + count)]
            if start > 0 { text += "\n" }
            let names = [""] + kinds.map(Self.name) + ["Result"]
            for (line, name) in names.enumerated() {
                var row = Self.padded(name, to: nameWidth, onLeft: false)
                for cell in block { row += Self.padded(cell[line], to: cellWidth, onLeft: true) }
                text += row + "\n"
            }
            start += count
        }
        return text
    }

    /// What follows the table: failures and remarks, a line each.
    public var notes: [String] {
        rows.compactMap { row in row.failure.map { "\(title(of: row)): \($0)" } } + missing + remarks
    }

    private static func name(_ kind: Figure.Kind) -> String {
        kind.unit.isEmpty ? kind.title : "\(kind.title), \(kind.unit)"
    }

    private static func padded(_ text: String, to width: Int, onLeft: Bool) -> String {
        let padding = String(repeating: " ", count: max(0, width - text.count))
        return onLeft ? padding + text : text + padding
    }
}
