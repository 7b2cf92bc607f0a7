/// An error as QMP reports it: a class for programs, one sentence for people.
public struct QMPError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The five classes of QEMU; new kinds of errors are all `GenericError`.
    public enum Class: String, Sendable, CaseIterable {
        case genericError = "GenericError"
        case commandNotFound = "CommandNotFound"
        case deviceNotActive = "DeviceNotActive"
        case deviceNotFound = "DeviceNotFound"
        case kvmMissingCapability = "KVMMissingCap"
    }

    public let errorClass: Class
    public let description: String

    public init(_ errorClass: Class, _ description: String) {
        self.errorClass = errorClass
        self.description = description
    }

    /// A `GenericError`.
    public init(_ description: String) { self.init(.genericError, description) }

    public static func unknownCommand(_ name: String) -> QMPError {
        QMPError(.commandNotFound, "The command \(name) has not been found")
    }

    /// The value of the `error` member.
    public var value: QMPValue { ["class": .string(errorClass.rawValue), "desc": .string(description)] }

    /// Reads the value of an `error` member; a class of a newer peer is `genericError`.
    public init(reading value: QMPValue) {
        let name = value["class"]?.stringValue ?? ""
        self.init(
            Class(rawValue: name) ?? .genericError, value["desc"]?.stringValue ?? "an error without description")
    }
}
