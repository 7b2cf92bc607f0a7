/// A command as it goes over the wire: `{"execute": NAME, "arguments": {…}, "id": ANY}`.
public struct Command: Equatable, Sendable {
    public var name: String
    public var arguments: QMPObject
    /// Echoed in the reply. Any JSON value, or none.
    public var id: QMPValue?
    /// Sent as `exec-oob`: executed at once, before commands that came earlier.
    public var isOutOfBand: Bool

    public init(_ name: String, _ arguments: QMPObject = [:], id: QMPValue? = nil, isOutOfBand: Bool = false) {
        self.name = name
        self.arguments = arguments
        self.id = id
        self.isOutOfBand = isOutOfBand
    }

    public var value: QMPValue {
        var object = QMPObject()
        object[isOutOfBand ? "exec-oob" : "execute"] = .string(name)
        if !arguments.isEmpty { object["arguments"] = .object(arguments) }
        object["id"] = id
        return .object(object)
    }

    /// Reads a command.
    ///
    /// - Parameter allowsOutOfBand: Whether the session has the capability "oob"; otherwise `exec-oob` is a member
    ///   like any other that does not belong there.
    /// - Throws: QEMU's sentence about what is wrong.
    public init(reading value: QMPValue, allowsOutOfBand: Bool) throws(QMPError) {
        guard case .object(let object) = value else { throw QMPError("QMP input must be a JSON object") }
        var verb: (member: String, name: String)?
        var arguments = QMPObject()
        for member in object.members {
            switch member.name {
            case let name where name == "execute" || (allowsOutOfBand && name == "exec-oob"):
                if let verb { throw QMPError("QMP input member '\(member.name)' clashes with '\(verb.member)'") }
                guard let name = member.value.stringValue else {
                    throw QMPError("QMP input member '\(member.name)' must be a string")
                }
                verb = (member.name, name)
            case "arguments":
                guard case .object(let content) = member.value else {
                    throw QMPError("QMP input member 'arguments' must be an object")
                }
                arguments = content
            case "id": break
            default: throw QMPError("QMP input member '\(member.name)' is unexpected")
            }
        }
        guard let verb else { throw QMPError("QMP input lacks member 'execute'") }
        self.init(verb.name, arguments, id: object["id"], isOutOfBand: verb.member == "exec-oob")
    }
}
