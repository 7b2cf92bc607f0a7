/// Rows of text in columns: the first is aligned to the left, numbers to the right.
struct TextTable {
    enum Alignment {
        case left
        case right
    }

    private let alignments: [Alignment]
    private var rows: [[String]]

    init(_ heading: [String], _ alignments: [Alignment]) {
        precondition(heading.count == alignments.count, "\(heading.count) columns, \(alignments.count) alignments")
        rows = [heading]
        self.alignments = alignments
    }

    mutating func append(_ row: [String]) {
        precondition(row.count == alignments.count, "\(row.count) of \(alignments.count) columns")
        rows.append(row)
    }

    var isEmpty: Bool { rows.count == 1 }

    /// The table, each line after `indentation` spaces. Columns without any contents are left out.
    func text(indentation: Int = 2) -> String {
        let widths = alignments.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        let used = alignments.indices.filter { column in rows.dropFirst().contains { !$0[column].isEmpty } }
        return rows.map { row in
            var line = String(repeating: " ", count: indentation)
            for (position, column) in used.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - row[column].count)
                if position > 0 { line += "  " }
                line += alignments[column] == .left ? row[column] + padding : padding + row[column]
            }
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}

/// `0x` and hexadecimal digits.
func hexadecimal(_ value: Int) -> String { "0x" + String(value, radix: 16) }

/// The number, or nothing for 0.
func unlessZero(_ value: Int) -> String { value == 0 ? "" : String(value) }

/// A number and what it counts: "1 page", "2 pages".
func counted(_ count: Int, _ thing: String) -> String { count == 1 ? "1 \(thing)" : "\(count) \(thing)s" }
