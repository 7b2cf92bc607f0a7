/// A JSON document, as far as the description of device state needs one.
///
/// Members keep their order, and a key may be there twice: QEMU writes such objects for its linked lists.
public enum JSONValue: Equatable, Sendable {
    case null
    case boolean(Bool)
    /// A whole number that fits 64 bits with sign.
    case integer(Int64)
    /// Any other number, as it is spelled.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])

    /// One key and its value.
    public struct Member: Equatable, Sendable {
        public var key: String
        public var value: JSONValue

        public init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }
    }

    /// An unsigned number of 64 bits, spelled as one.
    public static func unsigned(_ value: UInt64) -> JSONValue {
        Int64(exactly: value).map { .integer($0) } ?? .number(String(value))
    }

    /// The value of the first member called `key`, or nil if there is none or this is no object.
    public subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    /// The text, or nil if this is no string.
    public var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// The whole number, or nil if this is none.
    public var integer: Int? {
        guard case .integer(let value) = self else { return nil }
        return Int(exactly: value)
    }

    /// The elements, or nil if this is no array.
    public var array: [JSONValue]? {
        guard case .array(let elements) = self else { return nil }
        return elements
    }

    /// What a text may ask of the reader; beyond it the text is refused.
    ///
    /// A value takes at most 128 bytes of memory beside its text, so the default bounds memory at 160 MiB.
    public struct Limits: Sendable {
        /// Length of the text in bytes. A machine of 288 processors writes 4 MiB.
        public var byteCount = 32 << 20
        /// Values in the whole document.
        public var valueCount = 1 << 20
        /// Arrays and objects within each other.
        public var depth = 64

        public init() {}
    }

    /// Reads one document.
    ///
    /// - Parameter utf8: the text; white space may surround the document, nothing else.
    /// - Throws: `StateError.invalidJSON` with the byte's offset.
    public init(utf8: [UInt8], limits: Limits = Limits()) throws(StateError) {
        var parser = JSONParser(utf8, limits: limits)
        self = try parser.document()
    }
}
