/// Cuts bytes into JSON tokens, one byte at a time, in the way QEMU does.
///
/// Both kinds of quotes are taken. A byte that cannot be there is an error of its own, after which bytes are skipped
/// until one that is likely to be outside of strings: a structural character, a control character but tab, FE or FF.
/// See QEMU docs/interop/qmp-spec, "Protocol Specification".
///
///     start ──quote──▶ doubleQuoted ⇄ doubleQuotedEscape     (singleQuoted likewise)
///       ├─ 0 ──▶ zero ─.─▶ mantissa ──▶ mantissaDigits ─e─▶ exponent ─±─▶ exponentSign ──▶ exponentDigits
///       ├─ - ──▶ sign ──▶ zero, digits       digits ─.─▶ mantissa    digits ─e─▶ exponent
///       ├─ a-z ▶ keyword
///       └─ anything else ─ error ─▶ recovery ── line end, structure ──▶ start
enum TextLexer {
    enum State: UInt8 {
        case start
        case recovery
        case doubleQuoted
        case doubleQuotedEscape
        case singleQuoted
        case singleQuotedEscape
        case zero
        case sign
        case digits
        case mantissa
        case mantissaDigits
        case exponent
        case exponentSign
        case exponentDigits
        case keyword
    }

    enum Step {
        /// The byte belongs to the token; go on in this state.
        case take(State)
        /// The byte stands between tokens, or is skipped; go on in this state.
        case skip(State)
        /// The byte ends the token and belongs to it.
        case end(TextToken.Kind)
        /// The token ended before the byte, which is looked at again in the start state.
        case endBefore(TextToken.Kind)
        /// Nothing to keep; the byte is looked at again in the start state.
        case restart
        /// The byte cannot be here. It belongs to the text that the error quotes.
        case error
    }

    static func step(_ state: State, _ byte: UInt8) -> Step {
        switch state {
        case .start: start(byte)
        case .recovery: endsRecovery(byte) ? .restart : .skip(.recovery)
        case .doubleQuoted: quoted(byte, end: UInt8(ascii: "\""), escape: .doubleQuotedEscape, same: .doubleQuoted)
        case .singleQuoted: quoted(byte, end: UInt8(ascii: "'"), escape: .singleQuotedEscape, same: .singleQuoted)
        case .doubleQuotedEscape: isText(byte) ? .take(.doubleQuoted) : .error
        case .singleQuotedEscape: isText(byte) ? .take(.singleQuoted) : .error
        case .keyword: isLetter(byte) ? .take(.keyword) : .endBefore(.keyword)
        default: number(state, byte)
        }
    }

    private static func start(_ byte: UInt8) -> Step {
        switch byte {
        case UInt8(ascii: "{"): .end(.leftBrace)
        case UInt8(ascii: "}"): .end(.rightBrace)
        case UInt8(ascii: "["): .end(.leftBracket)
        case UInt8(ascii: "]"): .end(.rightBracket)
        case UInt8(ascii: ":"): .end(.colon)
        case UInt8(ascii: ","): .end(.comma)
        case UInt8(ascii: "\""): .take(.doubleQuoted)
        case UInt8(ascii: "'"): .take(.singleQuoted)
        case UInt8(ascii: "0"): .take(.zero)
        case UInt8(ascii: "1")...UInt8(ascii: "9"): .take(.digits)
        case UInt8(ascii: "-"): .take(.sign)
        case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), UInt8(ascii: "\n"): .skip(.start)
        default: isLetter(byte) ? .take(.keyword) : .error
        }
    }

    private static func number(_ state: State, _ byte: UInt8) -> Step {
        let isDigit = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        let isPoint = byte == UInt8(ascii: ".")
        let isExponent = byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E")
        switch state {
        case .zero: return isPoint ? .take(.mantissa) : isDigit ? .error : .endBefore(.integer)
        case .sign: return byte == UInt8(ascii: "0") ? .take(.zero) : isDigit ? .take(.digits) : .error
        case .digits:
            if isDigit { return .take(.digits) }
            return isPoint ? .take(.mantissa) : isExponent ? .take(.exponent) : .endBefore(.integer)
        case .mantissa: return isDigit ? .take(.mantissaDigits) : .error
        case .mantissaDigits:
            return isDigit ? .take(.mantissaDigits) : isExponent ? .take(.exponent) : .endBefore(.float)
        case .exponent:
            if isDigit { return .take(.exponentDigits) }
            return byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") ? .take(.exponentSign) : .error
        case .exponentSign: return isDigit ? .take(.exponentDigits) : .error
        case .exponentDigits: return isDigit ? .take(.exponentDigits) : .endBefore(.float)
        default: preconditionFailure("state \(state) reads no number")
        }
    }

    private static func quoted(_ byte: UInt8, end: UInt8, escape: State, same: State) -> Step {
        if byte == end { return .end(.string) }
        if byte == UInt8(ascii: "\\") { return .take(escape) }
        return isText(byte) ? .take(same) : .error
    }

    private static func isText(_ byte: UInt8) -> Bool { byte >= 0x20 && byte < 0xFE }
    private static func isLetter(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }

    private static func endsRecovery(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "\t"): false
        case 0..<0x20, 0xFE, 0xFF: true
        case UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ":"),
            UInt8(ascii: ","):
            true
        default: false
        }
    }
}
