import QMP
import Testing

/// What a reader made of some bytes: texts as JSON, errors as their sentences.
private func read(_ bytes: [UInt8], limits: QMPLimits = QMPLimits()) -> [String] {
    var reader = TextReader(limits: limits)
    return reader.receive(bytes).map(shown)
}

private func shown(_ result: Result<QMPValue, QMPError>) -> String {
    switch result {
    case .success(let value): value.text
    case .failure(let error): error.description
    }
}

@Suite("JSON text") struct TextReaderTests {
    @Test(arguments: [
        ("{}", "{}"), ("[]", "[]"),
        (#"{"a":[1,-2,0.5,true,false,null,"x"]}"#, #"{"a": [1, -2, 0.5, true, false, null, "x"]}"#),
        ("{'single': 'quo\"tes'}", #"{"single": "quo\"tes"}"#), ("[18446744073709551615]", "[18446744073709551615]"),
        ("[-9223372036854775808]", "[-9223372036854775808]"), ("[9223372036854775808]", "[9223372036854775808]"),
        ("[1e3, 1.0, -0]", "[1000.0, 1.0, 0]"), ("[0.1]", "[0.1]"), ("[1e400]", "[1e999]"),
        (#"["\u0041\n\/\b\f\r\t\\\"\'"]"#, #"["A\n/\b\f\r\t\\\"'"]"#), (#"["\ud83d\ude00"]"#, #"["\uD83D\uDE00"]"#),
        (#"["é"]"#, #"["\u00E9"]"#), (#"["\u0000"]"#, #"["\u0000"]"#), ("  \t\r\n[ 1 ,\n2 ]", "[1, 2]"),
        (#""text at the top""#, #""text at the top""#),
    ])
    func `is read and written`(text: String, expected: String) {
        #expect(read(Array(text.utf8)) == [expected])
    }

    /// Recorded from QEMU 7.2's answers to the same bytes.
    @Test(arguments: [
        ("{bad}", ["invalid keyword 'bad'"]), (#"{"a":1,}"#, ["expecting value"]),
        (#"{"a" 1}"#, ["missing : in object pair"]), (#"{"a":1 "b":2}"#, ["expected separator in dict"]),
        ("[1 2]", ["expected separator in list"]), ("[1,]", ["expecting value"]), ("[,1]", ["expecting value"]),
        ("{5:1}", ["key is not a string in object"]), (#"{"a":1,"a":2}"#, ["duplicate key"]),
        ("}", ["expecting value"]),
        ("]", ["expecting value"]), ("{]", ["expecting value"]), ("[}", ["expecting value"]),
        (#"{"a":1]"#, ["expected separator in dict"]), (#"{"a":[}"#, []), ("[01]", ["stray '01'", "expecting value"]),
        ("[1.]", ["stray '1.]'"]), ("[.5]", ["stray '.'", "expecting value"]),
        ("[+5]", ["stray '+'", "expecting value"]),
        ("[1e]", ["stray '1e]'"]), ("[-]", ["stray '-]'"]), ("[0e5]", ["expected separator in list"]),
        (#"["\ud800"]"#, [#"\ud800 is not a valid Unicode character"#]),
        (#"["\udc00x"]"#, [#"\udc00 is not a valid Unicode character"#]),
        (#"["\uD83D\u0041"]"#, [#"\uD83D is not a valid Unicode character"#]),
        (#"["\uFFFE"]"#, [#"\uFFFE is not a valid Unicode character"#]),
        (#"["\u12"]"#, [#"\u12" is not a valid Unicode character"#]),
        (#"["\x"]"#, ["invalid escape sequence in string"]), ("#", ["stray '#'"]), ("%", ["stray '%'"]),
        ("[truex]", ["invalid keyword 'truex'"]), ("[\"a\nb\"]", ["stray '\"a\n'", "expecting value"]),
        ("[\"a\u{0}b\"]", ["stray '\"a'", "expecting value"]),
    ])
    func `that is wrong is refused in QEMU's words`(text: String, reasons: [String]) {
        #expect(read(Array(text.utf8)) == reasons.map { "JSON parse error, \($0)" })
    }

    @Test(
        arguments: [
            ([0xC3], true), ([0xED, 0xA0, 0x80], true), ([0xF4, 0x90, 0x80, 0x80], true), ([0xEF, 0xBF, 0xBF], true),
            ([0x80], true), ([0xC1, 0xBF], true), ([0xE0, 0x80, 0x80], true), ([0xC3, 0xA9], false),
            ([0xC0, 0x80], false),
            ([0xF0, 0x9F, 0x98, 0x80], false),
        ] as [([UInt8], Bool)])
    func `takes the UTF-8 that QEMU takes`(bytes: [UInt8], isRefused: Bool) {
        let results = read(Array("[\"".utf8) + bytes + Array("\"]".utf8))
        #expect(results.count == 1)
        #expect((results.first == "JSON parse error, invalid UTF-8 sequence in string") == isRefused)
    }

    @Test func `goes on behind a byte that cannot be there`() {
        #expect(read([0xFF] + Array("{}".utf8)) == ["JSON parse error, stray '\u{FFFD}'", "{}"])
        #expect(read(Array("\"abc\u{1}def\"\n{}".utf8)) == ["JSON parse error, stray '\"abc\u{1}'", "{}"])
    }

    @Test func `needs nothing between two texts`() {
        #expect(read(Array(#"{"a":1}{"b":2} 5 []"#.utf8)) == [#"{"a": 1}"#, #"{"b": 2}"#, "5", "[]"])
    }

    @Test func `of a number at the end is complete when the input ends`() throws {
        #expect(try QMPValue(parsing: "42") == 42)
        #expect(try QMPValue(parsing: "null") == .null)
        #expect(throws: QMPError("JSON parse error, premature EOI")) { try QMPValue(parsing: "[1") }
        #expect(throws: QMPError("JSON parse error, premature EOI")) { try QMPValue(parsing: "") }
    }

    @Test func `may nest as deep as the limit and no deeper`() {
        let limit = QMPLimits().nestingDepth
        let deepest = String(repeating: "[", count: limit) + String(repeating: "]", count: limit)
        #expect(read(Array(deepest.utf8)) == [deepest])
        #expect(read(Array(repeating: UInt8(ascii: "["), count: limit + 1)) == ["JSON nesting depth limit exceeded"])
    }

    @Test func `may be as long as the limits and no longer`() {
        var limits = QMPLimits()
        limits.textByteCount = 10
        limits.tokenCount = 5
        #expect(
            read(Array(#"["1234567"]"#.utf8), limits: limits) == ["JSON token size limit exceeded"])
        #expect(read(Array(#"["123456"]"#.utf8), limits: limits) == [#"["123456"]"#])
        #expect(read(Array("[1,2]".utf8), limits: limits) == ["[1, 2]"])
        #expect(read(Array("[1,2,3\n".utf8), limits: limits) == ["JSON token count limit exceeded"])
        #expect(read(Array("\"12345678901234\n{}".utf8), limits: limits) == ["JSON token size limit exceeded", "{}"])
    }

    @Test func `with many members does not cost the square of its length`() throws {
        let text = "{" + (0..<50_000).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}"
        let value = try QMPValue(parsing: text)
        #expect(value.objectValue?.count == 50_000)
        #expect(value["k49999"] == 49_999)
    }
}

@Suite("JSON values") struct QMPValueTests {
    @Test(arguments: 0..<200) func `are the same after writing and reading`(seed: Int) throws {
        var random = SplitMix(state: UInt64(seed))
        let value = random.value(depth: 4)
        #expect(try QMPValue(parsing: value.text) == value)
    }

    @Test func `keep 64 bits`() {
        #expect(QMPValue(UInt64.max) == .unsigned(.max))
        #expect(QMPValue(UInt64(5)) == .integer(5))
        #expect(QMPValue(UInt64.max).text == "18446744073709551615")
    }

    @Test func `of objects are equal in any order of members`() {
        #expect(QMPValue.object(["a": 1, "b": 2]) == .object(["b": 2, "a": 1]))
        #expect(QMPValue.object(["a": 1, "b": 2]) != .object(["b": 2, "a": 2]))
        #expect(QMPValue.object(["a": 1]) != .object(["a": 1, "b": 2]))
    }

    @Test func `lose members that are set to nil`() {
        var object = QMPObject((0..<40).map { ("k\($0)", QMPValue($0)) })
        object["k7"] = nil
        #expect(object["k7"] == nil)
        #expect(object["k39"] == 39)
        #expect(object.count == 39)
    }
}

/// A small seeded generator: the same seed makes the same values.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func value(depth: Int) -> QMPValue {
        switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &self) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &self))
        case 2: return QMPValue(Int64.random(in: .min ... .max, using: &self))
        case 3: return QMPValue(UInt64.random(in: .min ... .max, using: &self))
        case 4: return .number(Double(Int.random(in: -1000...1000, using: &self)) + 0.37)
        case 5: return .string(text())
        case 6: return .array((0..<Int.random(in: 0...4, using: &self)).map { _ in value(depth: depth - 1) })
        default:
            return .object(
                QMPObject((0..<Int.random(in: 0...4, using: &self)).map { _ in (text(), value(depth: depth - 1)) }))
        }
    }

    private mutating func text() -> String {
        let letters = Array("ab\"\\/'\n\t\u{0}\u{7F}é€😀{}[],:")
        return String((0..<Int.random(in: 0...6, using: &self)).map { _ in letters.randomElement(using: &self) ?? "a" })
    }
}
