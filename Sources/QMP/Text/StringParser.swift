/// Makes a string of one string token: escapes, surrogate pairs, and UTF-8 as QEMU accepts it.
///
/// QEMU's UTF-8 is "modified": C0 80 is U+0000. Surrogates and the 66 noncharacters are refused in either spelling.
struct StringParser {
    private let text: [UInt8]
    private let end: Int
    private let closingQuote: Int
    private var position: Int
    private var scalars = String.UnicodeScalarView()

    /// `token` includes both quotes.
    init(text: [UInt8], token: Range<Int>) {
        self.text = text
        position = token.lowerBound + 1
        closingQuote = token.upperBound - 1
        end = token.upperBound
    }

    consuming func string() throws(QMPError) -> String {
        while position < closingQuote {
            if text[position] == UInt8(ascii: "\\") { try escape() } else { try scalar() }
        }
        return String(scalars)
    }

    private mutating func escape() throws(QMPError) {
        let start = position
        let letter = text[position + 1]
        position += 2
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "\\"), UInt8(ascii: "/"):
            scalars.append(Unicode.Scalar(letter))
        case UInt8(ascii: "b"): scalars.append("\u{8}")
        case UInt8(ascii: "f"): scalars.append("\u{C}")
        case UInt8(ascii: "n"): scalars.append("\n")
        case UInt8(ascii: "r"): scalars.append("\r")
        case UInt8(ascii: "t"): scalars.append("\t")
        case UInt8(ascii: "u"): try unicodeEscape(from: start)
        default: throw parseError("invalid escape sequence in string")
        }
    }

    private mutating func unicodeEscape(from start: Int) throws(QMPError) {
        var code = fourHexDigits(at: position)
        position += 4
        if let high = code, (0xD800...0xDBFF).contains(high), position + 1 < closingQuote,
            text[position] == UInt8(ascii: "\\"), text[position + 1] == UInt8(ascii: "u")
        {
            if let low = fourHexDigits(at: position + 2), (0xDC00...0xDFFF).contains(low) {
                code = 0x10000 + (high & 0x3FF) << 10 + (low & 0x3FF)
                position += 6
            } else {
                code = nil
            }
        }
        guard let code, let scalar = character(code) else {
            let quoted = String(decoding: text[start..<min(position, end)], as: UTF8.self)
            throw parseError("\(quoted) is not a valid Unicode character")
        }
        scalars.append(scalar)
    }

    private func fourHexDigits(at offset: Int) -> UInt32? {
        guard offset + 4 <= closingQuote else { return nil }
        var value: UInt32 = 0
        for byte in text[offset..<offset + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else { return nil }
            value = value << 4 | UInt32(digit)
        }
        return value
    }

    private mutating func scalar() throws(QMPError) {
        let first = text[position]
        if first < 0x80 {
            scalars.append(Unicode.Scalar(first))
            position += 1
            return
        }
        let length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        guard (0xC0..<0xF8).contains(first), position + length <= closingQuote else { throw invalidUTF8 }
        var code = UInt32(first) & (0x7F >> UInt32(length))
        for byte in text[position + 1..<position + length] {
            guard byte & 0xC0 == 0x80 else { throw invalidUTF8 }
            code = code << 6 | UInt32(byte & 0x3F)
        }
        let smallest: UInt32 = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000
        guard code >= smallest || (length == 2 && code == 0), let scalar = character(code) else { throw invalidUTF8 }
        scalars.append(scalar)
        position += length
    }

    private var invalidUTF8: QMPError { parseError("invalid UTF-8 sequence in string") }

    private func character(_ code: UInt32) -> Unicode.Scalar? {
        if (0xFDD0...0xFDEF).contains(code) || code & 0xFFFE == 0xFFFE { return nil }
        return Unicode.Scalar(code)
    }
}
