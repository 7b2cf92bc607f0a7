/// Reads JSON text (RFC 8259) into a `JSONValue`, never more of it than the limits allow.
struct JSONParser {
    private let text: [UInt8]
    private let limits: JSONValue.Limits
    private var offset = 0
    private var valueCount = 0

    init(_ text: [UInt8], limits: JSONValue.Limits) {
        self.text = text
        self.limits = limits
    }

    mutating func document() throws(StateError) -> JSONValue {
        guard text.count <= limits.byteCount else {
            throw .limitExceeded(
                field: "JSON text", found: UInt64(text.count), limit: UInt64(limits.byteCount), offset: 0)
        }
        let value = try self.value(depth: 0)
        skipSpace()
        guard offset == text.count else { throw wrong("text follows the document") }
        return value
    }

    private mutating func value(depth: Int) throws(StateError) -> JSONValue {
        skipSpace()
        valueCount += 1
        guard valueCount <= limits.valueCount else { throw wrong("more than \(limits.valueCount) values") }
        guard let first = peek() else { throw wrong("a value is missing") }
        switch first {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        case UInt8(ascii: "t"): return try word("true", .boolean(true))
        case UInt8(ascii: "f"): return try word("false", .boolean(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: throw wrong("a value does not start like this")
        }
    }

    private mutating func object(depth: Int) throws(StateError) -> JSONValue {
        guard depth <= limits.depth else { throw wrong("more than \(limits.depth) levels") }
        offset += 1
        var members: [JSONValue.Member] = []
        skipSpace()
        if take("}") { return .object(members) }
        while true {
            skipSpace()
            guard peek() == UInt8(ascii: "\"") else { throw wrong("a key is missing") }
            let key = try string()
            skipSpace()
            guard take(":") else { throw wrong("a colon is missing") }
            members.append(JSONValue.Member(key, try value(depth: depth)))
            skipSpace()
            if take("}") { return .object(members) }
            guard take(",") else { throw wrong("a comma or the object's end is missing") }
        }
    }

    private mutating func array(depth: Int) throws(StateError) -> JSONValue {
        guard depth <= limits.depth else { throw wrong("more than \(limits.depth) levels") }
        offset += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take("]") { return .array(elements) }
        while true {
            elements.append(try value(depth: depth))
            skipSpace()
            if take("]") { return .array(elements) }
            guard take(",") else { throw wrong("a comma or the array's end is missing") }
        }
    }

    private mutating func number() throws(StateError) -> JSONValue {
        let start = offset
        _ = take("-")
        if !take("0") { try digits() }
        var isWhole = true
        if take(".") {
            isWhole = false
            try digits()
        }
        if take("e") || take("E") {
            isWhole = false
            if !take("+") { _ = take("-") }
            try digits()
        }
        let spelling = String(decoding: text[start..<offset], as: UTF8.self)
        if isWhole, let value = Int64(spelling) { return .integer(value) }
        return .number(spelling)
    }

    private mutating func digits() throws(StateError) {
        let start = offset
        while let byte = peek(), byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { offset += 1 }
        guard offset > start else { throw wrong("a digit is missing") }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(StateError) -> JSONValue {
        for byte in word.description.utf8 {
            guard peek() == byte else { throw wrong("neither true, false nor null") }
            offset += 1
        }
        return value
    }

    private mutating func string() throws(StateError) -> String {
        offset += 1
        var bytes: [UInt8] = []
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                guard let text = String(validating: bytes, as: UTF8.self) else { throw wrong("a string is not UTF-8") }
                return text
            case UInt8(ascii: "\\"):
                offset += 1
                try escape(into: &bytes)
            case 0..<0x20:
                throw wrong("a control character within a string")
            default:
                bytes.append(byte)
                offset += 1
            }
        }
        throw wrong("a string does not end")
    }

    private mutating func escape(into bytes: inout [UInt8]) throws(StateError) {
        guard let kind = peek() else { throw wrong("an escape does not end") }
        offset += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): bytes.append(kind)
        case UInt8(ascii: "b"): bytes.append(8)
        case UInt8(ascii: "f"): bytes.append(12)
        case UInt8(ascii: "n"): bytes.append(10)
        case UInt8(ascii: "r"): bytes.append(13)
        case UInt8(ascii: "t"): bytes.append(9)
        case UInt8(ascii: "u"): bytes.append(contentsOf: String(try escapedScalar()).utf8)
        default: throw wrong("an unknown escape")
        }
    }

    /// The scalar after `\u`: four digits, or two times four for a surrogate pair.
    private mutating func escapedScalar() throws(StateError) -> Unicode.Scalar {
        let first = try hexadecimal()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xDC00, take("\\"), take("u") else { throw wrong("half a surrogate pair") }
        let second = try hexadecimal()
        guard (0xDC00...0xDFFF).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
        else { throw wrong("half a surrogate pair") }
        return scalar
    }

    private mutating func hexadecimal() throws(StateError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw wrong("a hexadecimal digit is missing")
            }
            value = value << 4 | UInt32(digit)
            offset += 1
        }
        return value
    }

    private func peek() -> UInt8? { offset < text.count ? text[offset] : nil }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard peek() == UInt8(ascii: character) else { return false }
        offset += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek(), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
    }

    private func wrong(_ explanation: String) -> StateError { .invalidJSON(offset: offset, explanation: explanation) }
}
