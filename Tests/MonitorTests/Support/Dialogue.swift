import LinuxSystem
import QMP
import Testing

/// What a client says on one connection, and how.
struct Dialogue: Sendable, CustomTestStringConvertible {
    let bytes: [UInt8]
    let negotiates: Bool

    init(_ text: String, negotiates: Bool = true) { self.init(bytes: Array(text.utf8), negotiates: negotiates) }

    init(bytes: [UInt8], negotiates: Bool = true) {
        self.bytes = bytes
        self.negotiates = negotiates
    }

    var testDescription: String { String(decoding: bytes.prefix(200), as: UTF8.self) }

    /// Says it on a new connection to `path`, in pieces of `pieceSize`, and returns everything that is answered,
    /// without the times.
    func answers(at path: String, pieceSize: Int = .max) async throws -> [QMPValue] {
        let client = RawClient(try Socket(connectingTo: .unix(path: path)))
        defer { client.shutDown() }
        if negotiates { try await client.negotiate() } else { _ = try await client.line() }
        var rest = bytes[...]
        while !rest.isEmpty {
            try await client.send(Array(rest.prefix(pieceSize)))
            rest = rest.dropFirst(pieceSize)
        }
        // A control character ends whatever is unfinished; then a command whose answer is the last.
        try await client.send("\u{1}\n" + #"{"execute":"query-name","id":"end"}"#)
        var answers: [QMPValue] = []
        while let line = try await client.line() {
            answers.append(line.comparable)
            if line["id"] == "end" { return answers }
        }
        throw QMPError("the connection ended behind \(answers)")
    }
}

extension QMPValue {
    /// Without times, and whole numbers as integers, which is how QEMU writes them.
    var comparable: QMPValue {
        switch self {
        case .number(let number): Int64(exactly: number).map(QMPValue.integer) ?? self
        case .array(let values): .array(values.map(\.comparable))
        case .object(let object):
            .object(
                QMPObject(object.members.filter { $0.name != "timestamp" }.map { ($0.name, $0.value.comparable) }))
        default: self
        }
    }
}
