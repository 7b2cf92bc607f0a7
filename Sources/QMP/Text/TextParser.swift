/// Makes a value of the tokens of one text. The reader bounds their number and depth.
struct TextParser {
    let text: [UInt8]
    let tokens: [TextToken]
    private var position = 0

    init(text: [UInt8], tokens: [TextToken]) {
        self.text = text
        self.tokens = tokens
    }

    mutating func value() throws(QMPError) -> QMPValue {
        let token = try peek()
        switch token.kind {
        case .leftBrace: return .object(try object())
        case .leftBracket: return .array(try array())
        case .string:
            position += 1
            return .string(try StringParser(text: text, token: token.bytes).string())
        case .integer, .float:
            position += 1
            return number(token)
        case .keyword:
            position += 1
            switch spelling(token) {
            case "true": return .bool(true)
            case "false": return .bool(false)
            case "null": return .null
            case let word: throw parseError("invalid keyword '\(word)'")
            }
        default: throw parseError("expecting value")
        }
    }

    private mutating func object() throws(QMPError) -> QMPObject {
        var object = QMPObject()
        position += 1
        if try peek().kind == .rightBrace {
            position += 1
            return object
        }
        while true {
            guard case .string(let name) = try value() else { throw parseError("key is not a string in object") }
            guard try pop() == .colon else { throw parseError("missing : in object pair") }
            let member = try value()
            guard object[name] == nil else { throw parseError("duplicate key") }
            object[name] = member
            switch try pop() {
            case .rightBrace: return object
            case .comma: continue
            default: throw parseError("expected separator in dict")
            }
        }
    }

    private mutating func array() throws(QMPError) -> [QMPValue] {
        var values: [QMPValue] = []
        position += 1
        if try peek().kind == .rightBracket {
            position += 1
            return values
        }
        while true {
            values.append(try value())
            switch try pop() {
            case .rightBracket: return values
            case .comma: continue
            default: throw parseError("expected separator in list")
            }
        }
    }

    /// An integer that has no 64-bit form becomes a double, as in QEMU.
    private func number(_ token: TextToken) -> QMPValue {
        let digits = spelling(token)
        if token.kind == .integer {
            if let value = Int64(digits) { return .integer(value) }
            if let value = UInt64(digits) { return .unsigned(value) }
        }
        // The lexer let only numbers through, each of which the standard library reads.
        return .number(Double(digits) ?? .infinity)
    }

    private func spelling(_ token: TextToken) -> String { String(decoding: text[token.bytes], as: UTF8.self) }

    private func peek() throws(QMPError) -> TextToken {
        guard position < tokens.count else { throw parseError("premature EOI") }
        return tokens[position]
    }

    private mutating func pop() throws(QMPError) -> TextToken.Kind {
        let kind = try peek().kind
        position += 1
        return kind
    }
}

func parseError(_ reason: String) -> QMPError { QMPError(.genericError, "JSON parse error, \(reason)") }
