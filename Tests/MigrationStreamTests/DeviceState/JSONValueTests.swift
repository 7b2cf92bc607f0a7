import MigrationStream
import Testing

@Suite("JSON") struct JSONValueTests {
    @Test func `is read with all its kinds`() throws {
        let text = #" {"a": [1, -2, 1.5e3, 18446744073709551615, true, false, null], "é\n\"": "\u00e9\ud83d\ude00"} "#
        let value = try JSONValue(utf8: Array(text.utf8))
        #expect(
            value["a"]?.array == [
                .integer(1), .integer(-2), .number("1.5e3"), .number("18446744073709551615"), .boolean(true),
                .boolean(false), .null,
            ])
        #expect(value["é\n\""]?.string == "é😀")
        #expect(try JSONValue(utf8: value.utf8) == value)
    }

    @Test(arguments: [
        ("", 0), ("[1", 2), ("[1,]", 3), (#"{"a"}"#, 4), (#"{"a" 1}"#, 5), ("01", 1), ("-", 1), ("1.", 2), ("1e", 2),
        ("tru", 3), ("\"a", 2), ("\"\u{1}\"", 1), (#""\x""#, 3), (#""\ud800""#, 7), (#""\u12""#, 5), ("[]]", 2),
        ("nulll", 4), ("\u{FEFF}[]", 0),
    ])
    func `is refused with the byte where it is wrong`(text: String, offset: Int) {
        do {
            let value = try JSONValue(utf8: Array(text.utf8))
            Issue.record("\(text) was read as \(value)")
        } catch .invalidJSON(let found, _) {
            #expect(found == offset)
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test func `is refused when it is not UTF-8`() {
        #expect(throws: StateError.self) { try JSONValue(utf8: [0x22, 0xFF, 0x22]) }
    }

    @Test func `is refused beyond its limits`() throws {
        var limits = JSONValue.Limits()
        limits.depth = 3
        #expect(try JSONValue(utf8: Array("[[[]]]".utf8), limits: limits) == .array([.array([.array([])])]))
        #expect(throws: StateError.invalidJSON(offset: 3, explanation: "more than 3 levels")) {
            try JSONValue(utf8: Array("[[[[]]]]".utf8), limits: limits)
        }
        limits.valueCount = 4
        #expect(throws: StateError.invalidJSON(offset: 7, explanation: "more than 4 values")) {
            try JSONValue(utf8: Array("[1,2,3,4]".utf8), limits: limits)
        }
        limits.byteCount = 2
        #expect(throws: StateError.limitExceeded(field: "JSON text", found: 3, limit: 2, offset: 0)) {
            try JSONValue(utf8: Array("[1]".utf8), limits: limits)
        }
        // Deep nesting must end at the limit, not at the stack's end.
        #expect(throws: StateError.self) { try JSONValue(utf8: [UInt8](repeating: 0x5B, count: 1 << 20)) }
    }

    @Test func `gives a value or an error for every truncation and changed bit`() {
        let whole = Array(#"{"page_size": 4096, "devices": [{"name": "t\u0041", "f": [-1.5e+2, true, null]}]}"#.utf8)
        for count in 0..<whole.count {
            #expect(throws: StateError.self) { try JSONValue(utf8: Array(whole.prefix(count))) }
        }
        for bit in 0..<(whole.count * 8) {
            var text = whole
            text[bit / 8] ^= 1 << UInt8(bit % 8)
            if let value = try? JSONValue(utf8: text) { #expect((try? JSONValue(utf8: value.utf8)) == value) }
        }
    }
}
