/// Takes typed arguments out of a command's object, with QEMU's words for what is wrong.
///
/// Take every argument in the order of the command's description, then call `finish()`, which refuses what is left.
///
///     var arguments = Arguments(command.arguments)
///     let name = try arguments.string("fdname")
///     try arguments.finish()
public struct Arguments: Sendable {
    private let object: QMPObject
    /// Where the object stands inside of the arguments: "" or "capabilities[0].".
    private let path: String
    private var taken: Set<String> = []

    public init(_ object: QMPObject) {
        self.object = object
        path = ""
    }

    private init(_ object: QMPObject, path: String) {
        self.object = object
        self.path = path
    }

    /// Refuses arguments that nobody took.
    public func finish() throws(QMPError) {
        for member in object.members where !taken.contains(member.name) {
            throw QMPError("Parameter '\(path)\(member.name)' is unexpected")
        }
    }

    /// Whether there is an argument `name`, of whatever type.
    public func has(_ name: String) -> Bool { object[name] != nil }

    /// All arguments as they are; what takes them checks them.
    public mutating func takeAll() -> QMPObject {
        taken.formUnion(object.members.map(\.name))
        return object
    }

    /// The argument `name` of any type, nil when absent.
    public mutating func optionalValue(_ name: String) -> QMPValue? {
        taken.insert(name)
        return object[name]
    }

    public mutating func optionalString(_ name: String) throws(QMPError) -> String? {
        guard let value = optionalValue(name) else { return nil }
        guard let string = value.stringValue else { throw wrongType(name, "string") }
        return string
    }

    public mutating func optionalBool(_ name: String) throws(QMPError) -> Bool? {
        guard let value = optionalValue(name) else { return nil }
        guard let bool = value.boolValue else { throw wrongType(name, "boolean") }
        return bool
    }

    public mutating func optionalInteger(_ name: String) throws(QMPError) -> Int64? {
        guard let value = optionalValue(name) else { return nil }
        guard let integer = value.integerValue else { throw wrongType(name, "integer") }
        return integer
    }

    /// A number without sign. As in QEMU, a negative integer is taken as its 64 bits.
    ///
    /// - Parameter bitCount: 8, 16, 32 or 64; a value that does not fit is refused.
    public mutating func optionalUnsigned(_ name: String, bitCount: Int = 64) throws(QMPError) -> UInt64? {
        guard let value = optionalValue(name) else { return nil }
        let bits: UInt64
        switch value {
        case .integer(let integer): bits = UInt64(bitPattern: integer)
        case .unsigned(let unsigned): bits = unsigned
        default: throw QMPError("Parameter '\(path)\(name)' expects uint64")
        }
        guard bitCount == 64 || bits >> UInt64(bitCount) == 0 else {
            throw QMPError("Parameter '\(path)\(name)' expects uint\(bitCount)_t")
        }
        return bits
    }

    public mutating func optionalNumber(_ name: String) throws(QMPError) -> Double? {
        guard let value = optionalValue(name) else { return nil }
        guard let number = value.doubleValue else { throw wrongType(name, "number") }
        return number
    }

    /// A word out of a fixed set. QEMU names the word without its path.
    public mutating func optionalWord<Word: RawRepresentable<String>>(
        _ name: String, as type: Word.Type
    ) throws(QMPError) -> Word? {
        guard let string = try optionalString(name) else { return nil }
        guard let word = Word(rawValue: string) else {
            throw QMPError("Parameter '\(name)' does not accept value '\(string)'")
        }
        return word
    }

    /// An object, whose members are taken in the same way; call its `finish()` too.
    public mutating func optionalObject(_ name: String) throws(QMPError) -> Arguments? {
        guard let value = optionalValue(name) else { return nil }
        guard let content = value.objectValue else { throw wrongType(name, "object") }
        return Arguments(content, path: "\(path)\(name).")
    }

    public mutating func optionalArray(_ name: String) throws(QMPError) -> [QMPValue]? {
        guard let value = optionalValue(name) else { return nil }
        guard let array = value.arrayValue else { throw wrongType(name, "array") }
        return array
    }

    /// A list of objects.
    public mutating func optionalObjects(_ name: String) throws(QMPError) -> [Arguments]? {
        guard let array = try optionalArray(name) else { return nil }
        var objects: [Arguments] = []
        for (index, element) in array.enumerated() {
            guard let content = element.objectValue else { throw wrongType("\(name)[\(index)]", "object") }
            objects.append(Arguments(content, path: "\(path)\(name)[\(index)]."))
        }
        return objects
    }

    /// A list of strings.
    public mutating func optionalStrings(_ name: String) throws(QMPError) -> [String]? {
        guard let array = try optionalArray(name) else { return nil }
        var strings: [String] = []
        for (index, element) in array.enumerated() {
            guard let string = element.stringValue else { throw wrongType("\(name)[\(index)]", "string") }
            strings.append(string)
        }
        return strings
    }

    private func wrongType(_ name: String, _ expected: String) -> QMPError {
        QMPError("Invalid parameter type for '\(path)\(name)', expected: \(expected)")
    }

    fileprivate func required<Value>(_ value: Value?, _ name: String) throws(QMPError) -> Value {
        guard let value else { throw QMPError("Parameter '\(path)\(name)' is missing") }
        return value
    }
}

/// The same where the argument must be there.
extension Arguments {
    public mutating func string(_ name: String) throws(QMPError) -> String {
        try required(try optionalString(name), name)
    }

    public mutating func bool(_ name: String) throws(QMPError) -> Bool { try required(try optionalBool(name), name) }

    public mutating func integer(_ name: String) throws(QMPError) -> Int64 {
        try required(try optionalInteger(name), name)
    }

    public mutating func unsigned(_ name: String, bitCount: Int = 64) throws(QMPError) -> UInt64 {
        try required(try optionalUnsigned(name, bitCount: bitCount), name)
    }

    public mutating func word<Word: RawRepresentable<String>>(
        _ name: String, as type: Word.Type
    ) throws(QMPError) -> Word {
        try required(try optionalWord(name, as: type), name)
    }

    public mutating func object(_ name: String) throws(QMPError) -> Arguments {
        try required(try optionalObject(name), name)
    }

    public mutating func objects(_ name: String) throws(QMPError) -> [Arguments] {
        try required(try optionalObjects(name), name)
    }

    public mutating func strings(_ name: String) throws(QMPError) -> [String] {
        try required(try optionalStrings(name), name)
    }
}
