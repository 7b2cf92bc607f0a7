/// The client's end of one QMP connection: commands in, bytes out; bytes in, replies and events out.
///
///     waiting for the greeting ──▶ negotiating ──▶ ready
///
/// The negotiation is this session's answer to the greeting. Each command gets an id of this
/// session's own, by which its reply is found again, also when replies overtake one another (out of band).
public struct ClientSession: Sendable {
    /// A command that awaits its reply.
    public struct Ticket: Hashable, Sendable {
        let number: Int64
    }

    /// What came from the server.
    public enum Message: Equatable, Sendable {
        /// The negotiation waits in the output.
        case greeting(Greeting)
        /// The negotiation is over.
        case ready
        case reply(Ticket, Result<QMPValue, QMPError>)
        case event(Event)
    }

    /// Why the peer is no QMP server. The connection is of no more use.
    public struct ProtocolError: Error, Equatable, Sendable, CustomStringConvertible {
        public let description: String
    }

    private var reader = TextReader()
    private var nextNumber: Int64 = 1
    private var awaited: Set<Int64> = []
    private var negotiation: Int64?
    private let wantsOutOfBand: Bool
    private var output: [UInt8] = []

    public private(set) var greeting: Greeting?
    public private(set) var isReady = false
    /// Whether `exec-oob` may be used: it was wanted and the server offered it.
    public var hasOutOfBand: Bool { wantsOutOfBand && greeting?.capabilities.contains("oob") == true }

    /// - Parameter wantsOutOfBand: Use the capability "oob" if the server has it.
    public init(wantsOutOfBand: Bool = true) { self.wantsOutOfBand = wantsOutOfBand }

    /// The bytes that wait to be sent, which are then the caller's.
    public mutating func takeOutput() -> [UInt8] {
        defer { output = [] }
        return output
    }

    /// Puts a command into the output.
    ///
    /// - Precondition: `isReady`.
    public mutating func send(_ name: String, _ arguments: QMPObject, isOutOfBand: Bool = false) -> Ticket {
        precondition(isReady, "the command \(name) was sent before the negotiation ended")
        return enqueue(Command(name, arguments, isOutOfBand: isOutOfBand && hasOutOfBand))
    }

    /// Reads what came from the server, cut in any way.
    public mutating func receive(_ bytes: [UInt8]) throws(ProtocolError) -> [Message] {
        var messages: [Message] = []
        for text in reader.receive(bytes) {
            switch text {
            case .success(let value): messages.append(try message(value))
            case .failure(let error):
                throw ProtocolError(description: "The server sent what is no JSON: \(error.description).")
            }
        }
        return messages
    }

    private mutating func enqueue(_ command: Command) -> Ticket {
        var command = command
        command.id = .integer(nextNumber)
        awaited.insert(nextNumber)
        nextNumber += 1
        output += ServerSession.line(command.value)
        return Ticket(number: nextNumber - 1)
    }

    private mutating func message(_ value: QMPValue) throws(ProtocolError) -> Message {
        guard greeting != nil else {
            guard let greeting = Greeting(reading: value) else {
                throw ProtocolError(description: "The server did not greet with QMP but with \(value.excerpt).")
            }
            self.greeting = greeting
            let enable: QMPObject = hasOutOfBand ? ["enable": ["oob"]] : [:]
            negotiation = enqueue(Command("qmp_capabilities", enable)).number
            return .greeting(greeting)
        }
        if let event = Event(reading: value) { return .event(event) }
        guard let reply = Reply(reading: value) else {
            throw ProtocolError(description: "The server sent neither reply nor event: \(value.excerpt).")
        }
        guard let number = reply.id?.integerValue, awaited.remove(number) != nil else {
            throw ProtocolError(description: "The server answered a command that was not sent: \(value.excerpt).")
        }
        guard number == negotiation else { return .reply(Ticket(number: number), reply.result) }
        if case .failure(let error) = reply.result {
            throw ProtocolError(description: "The server refused the negotiation: \(error.description).")
        }
        isReady = true
        return .ready
    }
}

extension QMPValue {
    /// The beginning of the text, for an error.
    var excerpt: String {
        let text = self.text
        return text.utf8.count <= 120 ? text : "\(text.prefix(120))…"
    }
}
