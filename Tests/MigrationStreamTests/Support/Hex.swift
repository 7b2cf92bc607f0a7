/// The bytes that `text` spells in hexadecimal; blanks, line ends and what follows `//` in a line are left out.
func hex(_ text: String) -> [UInt8] {
    var digits: [UInt8] = []
    for line in text.split(separator: "\n") {
        let code = line.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)[0]
        digits += code.utf8.compactMap { byte in Character(UnicodeScalar(byte)).hexDigitValue.map { UInt8($0) } }
    }
    precondition(digits.count % 2 == 0, "\(digits.count) digits")
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// The bytes of `text`.
func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }
