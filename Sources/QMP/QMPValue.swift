/// A JSON value as QMP carries it.
///
/// Integers keep all 64 bits: what fits in an `Int64` is `integer`, what only fits in a `UInt64` is `unsigned`, and
/// only what fits in neither is a `number`. Make integers with `init(_:)`, which keeps that rule.
public enum QMPValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// Above `Int64.max` only.
    case unsigned(UInt64)
    case number(Double)
    case string(String)
    case array([QMPValue])
    case object(QMPObject)

    public init(_ value: Int64) { self = .integer(value) }
    public init(_ value: Int) { self = .integer(Int64(value)) }
    public init(_ value: UInt64) { self = Int64(exactly: value).map(QMPValue.integer) ?? .unsigned(value) }
    public init(_ value: String) { self = .string(value) }
    public init(_ value: Bool) { self = .bool(value) }

    /// The empty object, which is what a command without a result returns.
    public static let nothing = QMPValue.object(QMPObject())

    /// The member `name` of an object; nil for anything else.
    public subscript(name: String) -> QMPValue? {
        guard case .object(let object) = self else { return nil }
        return object[name]
    }

    public var boolValue: Bool? {
        guard case .bool(let value) = self else { return nil }
        return value
    }

    public var stringValue: String? {
        guard case .string(let value) = self else { return nil }
        return value
    }

    public var integerValue: Int64? {
        guard case .integer(let value) = self else { return nil }
        return value
    }

    public var unsignedValue: UInt64? {
        switch self {
        case .integer(let value): UInt64(exactly: value)
        case .unsigned(let value): value
        default: nil
        }
    }

    /// Any number as a double, rounded when it has more than 53 bits.
    public var doubleValue: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .unsigned(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    public var arrayValue: [QMPValue]? {
        guard case .array(let values) = self else { return nil }
        return values
    }

    public var objectValue: QMPObject? {
        guard case .object(let object) = self else { return nil }
        return object
    }
}

extension QMPValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByFloatLiteral, ExpressibleByNilLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(nilLiteral: ()) { self = .null }
    public init(arrayLiteral elements: QMPValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, QMPValue)...) { self = .object(QMPObject(elements)) }
}
