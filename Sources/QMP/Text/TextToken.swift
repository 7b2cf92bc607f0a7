/// One token of a JSON text: its kind and where its bytes stand in the text that the reader keeps.
struct TextToken {
    enum Kind: UInt8 {
        case leftBrace
        case rightBrace
        case leftBracket
        case rightBracket
        case colon
        case comma
        case integer
        case float
        case keyword
        case string
    }

    let kind: Kind
    /// With the quotes when it is a string.
    let bytes: Range<Int>
}
