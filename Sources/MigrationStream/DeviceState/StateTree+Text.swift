extension StateStructure {
    /// The state for a person: a line per field, two spaces deeper for each level.
    ///
    /// Long arrays and buffers are cut after `maximumElementCount` elements unless all of the rest is zero, which is
    /// said in a word.
    public func text(indentation: Int = 0, maximumElementCount: Int = 16) -> String {
        var printer = StateTextPrinter(maximumElementCount: maximumElementCount)
        printer.append(self, level: indentation)
        return printer.text
    }

    /// The state for a program: an object with a member per field and one per subsection.
    ///
    /// Buffers are strings of hexadecimal digits, timers that are not pending are null. Elements that are described
    /// one by one have their index in the key, `dev[3]`.
    public var json: JSONValue {
        var members = fields.map { JSONValue.Member($0.label, $0.value.json) }
        for subsection in subsections { members.append(.init(subsection.name ?? "", subsection.json)) }
        return .object(members)
    }
}

extension StateField {
    /// The name, with the index if the element of an array is described on its own.
    var label: String { index.map { "\(name)[\($0)]" } ?? name }
}

extension StateValue {
    var json: JSONValue {
        switch self {
        case .unsigned(let value): .unsigned(value)
        case .signed(let value): .integer(value)
        case .boolean(let value): .boolean(value)
        case .timer(let expiry): expiry.map { .unsigned($0) } ?? .null
        case .bytes(let bytes): .string(hexadecimal(bytes))
        case .structure(let structure): structure.json
        case .array(let elements): .array(elements.map(\.json))
        }
    }

    /// The value on one line; nil for a structure, which needs more.
    var line: String? {
        switch self {
        case .unsigned(let value): value < 10 ? String(value) : "0x" + String(value, radix: 16)
        case .signed(let value): String(value)
        case .boolean(let value): value ? "true" : "false"
        case .timer(let expiry): expiry.map { "\($0) ns" } ?? "not pending"
        case .bytes(let bytes): hexadecimal(bytes)
        case .structure, .array: nil
        }
    }

    var isZero: Bool {
        switch self {
        case .unsigned(let value): value == 0
        case .signed(let value): value == 0
        case .boolean(let value): !value
        case .timer(let expiry): expiry == 0
        case .bytes(let bytes): bytes.allSatisfy { $0 == 0 }
        case .structure(let structure): structure.fields.allSatisfy(\.value.isZero) && structure.subsections.isEmpty
        case .array(let elements): elements.allSatisfy(\.isZero)
        }
    }
}

/// Two lower-case digits a byte.
func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    var digits: [UInt8] = []
    for byte in bytes {
        digits.append(hexadecimalDigit(byte >> 4))
        digits.append(hexadecimalDigit(byte & 15))
    }
    return String(decoding: digits, as: UTF8.self)
}

private struct StateTextPrinter {
    let maximumElementCount: Int
    var text = ""

    mutating func append(_ structure: StateStructure, level: Int) {
        for field in structure.fields { append(field.value, label: field.label, level: level) }
        for subsection in structure.subsections {
            line(level, (subsection.name ?? "") + " version \(subsection.version ?? 0)")
            append(subsection, level: level + 1)
        }
    }

    private mutating func append(_ value: StateValue, label: String, level: Int) {
        switch value {
        case .structure(let structure):
            line(level, label)
            append(structure, level: level + 1)
        case .array(let elements):
            if value.isZero {
                line(level, "\(label)[\(elements.count)] = all zero")
            } else if elements.allSatisfy({ $0.line != nil }) {
                let shown = elements.prefix(maximumElementCount).compactMap(\.line).joined(separator: " ")
                line(level, "\(label)[\(elements.count)] = \(shown)\(rest(elements[...]) { $0.isZero })")
            } else {
                append(elements: elements, label: label, level: level)
            }
        case .bytes(let bytes):
            if bytes.count > 8, value.isZero {
                line(level, "\(label) = \(bytes.count) bytes, all zero")
            } else {
                let shown = hexadecimal(bytes.prefix(4 * maximumElementCount))
                let cut = bytes.dropFirst(4 * maximumElementCount)
                let end = cut.isEmpty ? "" : cut.allSatisfy { $0 == 0 } ? " … zero" : " …"
                line(level, "\(label) = \(shown)\(end)" + (cut.isEmpty ? "" : " (\(bytes.count) bytes)"))
            }
        default:
            line(level, "\(label) = \(value.line ?? "")")
        }
    }

    private mutating func append(elements: [StateValue], label: String, level: Int) {
        var shownCount = 0
        for (index, element) in elements.enumerated() where !element.isZero {
            guard shownCount < maximumElementCount else {
                line(level, "\(label)[\(index)…\(elements.count - 1)] …")
                return
            }
            shownCount += 1
            append(element, label: "\(label)[\(index)]", level: level)
        }
        let zeroCount = elements.count(where: \.isZero)
        if zeroCount > 0 { line(level, "\(label): \(zeroCount) of \(elements.count) all zero") }
    }

    private func rest(_ elements: ArraySlice<StateValue>, isZero: (StateValue) -> Bool) -> String {
        let cut = elements.dropFirst(maximumElementCount)
        if cut.isEmpty { return "" }
        return cut.allSatisfy(isZero) ? " … zero" : " …"
    }

    private mutating func line(_ level: Int, _ content: String) {
        text += String(repeating: "  ", count: level)
        text += content
        text += "\n"
    }
}
