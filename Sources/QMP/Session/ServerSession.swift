/// The server's end of one QMP connection: bytes in, commands and ready replies out.
///
///     connected ── greeting ──▶ negotiating ── qmp_capabilities ──▶ commands
///
/// While negotiating, everything but `qmp_capabilities` is answered here with an error. Events belong only to a
/// session in the last state. The caller answers what comes out of `receive` in its order, but `urgent` commands at
/// once.
public struct ServerSession: Sendable {
    /// What the caller has to do next.
    public enum Action: Equatable, Sendable {
        /// Send this; nothing was executed.
        case reply(Reply)
        /// Execute this behind all earlier ones, and send the reply.
        case execute(Command)
        /// Execute this now; if it may not be executed out of band, answer `notOutOfBand`.
        case executeNow(Command)
    }

    private var reader: TextReader
    private let greeting: Greeting
    /// Whether commands and events may pass.
    public private(set) var hasNegotiated = false
    /// Whether `exec-oob` may be used.
    public private(set) var hasOutOfBand = false

    public init(greeting: Greeting, limits: QMPLimits = QMPLimits()) {
        self.greeting = greeting
        reader = TextReader(limits: limits)
    }

    /// What to send before anything else.
    public var greetingLine: [UInt8] { ServerSession.line(greeting.value) }

    /// Reads what came from the client, cut in any way.
    public mutating func receive(_ bytes: [UInt8]) -> [Action] {
        var actions: [Action] = []
        for text in reader.receive(bytes) { actions.append(action(for: text)) }
        return actions
    }

    /// The bytes of one message: its JSON and CR LF.
    public static func line(_ value: QMPValue) -> [UInt8] {
        var bytes: [UInt8] = []
        value.write(to: &bytes)
        bytes.append(0x0D)
        bytes.append(0x0A)
        return bytes
    }

    /// The answer to an `exec-oob` of a command that cannot be executed so.
    public static func notOutOfBand(_ name: String) -> QMPError {
        QMPError("The command \(name) does not support OOB")
    }

    private mutating func action(for text: Result<QMPValue, QMPError>) -> Action {
        var id: QMPValue?
        do throws(QMPError) {
            let value = try text.get()
            id = value["id"]
            let command = try Command(reading: value, allowsOutOfBand: hasOutOfBand)
            if !hasNegotiated {
                guard command.name == ServerSession.negotiation else {
                    throw QMPError(
                        .commandNotFound, "Expecting capabilities negotiation with '\(ServerSession.negotiation)'")
                }
                try negotiate(command.arguments)
                return .reply(Reply(.success(.nothing), id: id))
            }
            if command.name == ServerSession.negotiation {
                if command.isOutOfBand { throw ServerSession.notOutOfBand(command.name) }
                throw QMPError(
                    .commandNotFound, "Capabilities negotiation is already complete, command ignored")
            }
            return command.isOutOfBand ? .executeNow(command) : .execute(command)
        } catch {
            return .reply(Reply(.failure(error), id: id))
        }
    }

    private mutating func negotiate(_ object: QMPObject) throws(QMPError) {
        var arguments = Arguments(object)
        let enabled = try arguments.optionalStrings("enable") ?? []
        for name in enabled where name != "oob" {
            // The element of a list has no name in QEMU, which prints it as null.
            throw QMPError("Parameter 'null' does not accept value '\(name)'")
        }
        try arguments.finish()
        if !enabled.isEmpty && !greeting.capabilities.contains("oob") {
            throw QMPError("This monitor does not support the capability oob")
        }
        hasOutOfBand = !enabled.isEmpty
        hasNegotiated = true
    }

    private static let negotiation = "qmp_capabilities"
}
