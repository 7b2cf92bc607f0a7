/// Reads a stream of JSON texts that may be cut anywhere.
///
/// A text is complete when its brackets balance; nothing has to stand between two texts. A text that is wrong gives
/// one error with QEMU's words, and reading goes on behind it, so a connection survives anything.
public struct TextReader: Sendable {
    private let limits: QMPLimits
    private var state = TextLexer.State.start
    /// The bytes of the tokens of the unfinished text, and behind them those of the unfinished token.
    private var text: [UInt8] = []
    private var tokens: [TextToken] = []
    private var tokenStart = 0
    private var openBraces = 0
    private var openBrackets = 0

    public init(limits: QMPLimits = QMPLimits()) { self.limits = limits }

    /// Whether no text has begun: a peer that ends here has not been cut short.
    public var isBetweenTexts: Bool { text.isEmpty && tokens.isEmpty }

    /// Reads `bytes` and returns what they complete, in order.
    public mutating func receive(_ bytes: [UInt8]) -> [Result<QMPValue, QMPError>] {
        var results: [Result<QMPValue, QMPError>] = []
        for byte in bytes { receive(byte, &results) }
        return results
    }

    /// Ends the input: a number or keyword outside of brackets is complete only now.
    public mutating func finish() -> [Result<QMPValue, QMPError>] {
        var results: [Result<QMPValue, QMPError>] = []
        // A line end belongs to no token, so it ends each without changing it.
        if state != .recovery { receive(UInt8(ascii: "\n"), &results) }
        if !tokens.isEmpty { results.append(parse()) }
        self = TextReader(limits: limits)
        return results
    }

    private mutating func receive(_ byte: UInt8, _ results: inout [Result<QMPValue, QMPError>]) {
        while true {
            switch TextLexer.step(state, byte) {
            case .take(let next):
                text.append(byte)
                state = next
                if text.count - tokenStart > limits.textByteCount {
                    results.append(.failure(abandon("JSON token size limit exceeded")))
                    state = .recovery
                }
                return
            case .skip(let next):
                state = next
                return
            case .end(let kind):
                text.append(byte)
                state = .start
                complete(kind, &results)
                return
            case .endBefore(let kind):
                state = .start
                complete(kind, &results)
            case .restart:
                state = .start
            case .error:
                text.append(byte)
                let stray = text[tokenStart...].prefix { $0 != 0 }
                results.append(
                    .failure(abandon("JSON parse error, stray '\(String(decoding: stray, as: UTF8.self))'")))
                state = .recovery
                return
            }
        }
    }

    private mutating func complete(_ kind: TextToken.Kind, _ results: inout [Result<QMPValue, QMPError>]) {
        switch kind {
        case .leftBrace: openBraces += 1
        case .rightBrace: openBraces -= 1
        case .leftBracket: openBrackets += 1
        case .rightBracket: openBrackets -= 1
        default: break
        }
        if text.count > limits.textByteCount {
            results.append(.failure(abandon("JSON token size limit exceeded")))
        } else if tokens.count >= limits.tokenCount {
            results.append(.failure(abandon("JSON token count limit exceeded")))
        } else if openBraces + openBrackets > limits.nestingDepth {
            results.append(.failure(abandon("JSON nesting depth limit exceeded")))
        } else {
            tokens.append(TextToken(kind: kind, bytes: tokenStart..<text.count))
            tokenStart = text.count
            let isOpen = openBraces > 0 || openBrackets > 0
            if !isOpen || openBraces < 0 || openBrackets < 0 {
                results.append(parse())
                reset()
            }
        }
    }

    private func parse() -> Result<QMPValue, QMPError> {
        var parser = TextParser(text: text, tokens: tokens)
        do throws(QMPError) { return .success(try parser.value()) } catch { return .failure(error) }
    }

    private mutating func abandon(_ description: String) -> QMPError {
        reset()
        return QMPError(.genericError, description)
    }

    private mutating func reset() {
        // A large text must not be paid for as long as the connection lives.
        text.removeAll(keepingCapacity: text.capacity <= 65536)
        tokens.removeAll(keepingCapacity: tokens.capacity <= 4096)
        tokenStart = 0
        openBraces = 0
        openBrackets = 0
    }
}

extension QMPValue {
    /// Reads one JSON text in QMP's dialect, all of it.
    public init(parsing text: String, limits: QMPLimits = QMPLimits()) throws(QMPError) {
        var reader = TextReader(limits: limits)
        let results = reader.receive(Array(text.utf8)) + reader.finish()
        guard let first = results.first else { throw QMPError(.genericError, "JSON parse error, premature EOI") }
        self = try first.get()
        guard results.count == 1 else {
            throw QMPError(.genericError, "JSON parse error, \(results.count) texts where one was expected")
        }
    }
}
