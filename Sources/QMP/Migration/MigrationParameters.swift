/// The values of all migration parameters. They may change while a migration runs.
public struct MigrationParameters: Equatable, Sendable {
    private var values: [MigrationParameter: QMPValue]

    /// QEMU's defaults.
    public init() {
        values = [:]
        for parameter in MigrationParameter.allCases {
            switch parameter.kind {
            case .unsigned(_, _, _, let standard): values[parameter] = QMPValue(standard)
            case .bool(let standard): values[parameter] = .bool(standard)
            case .word(_, let standard): values[parameter] = .string(standard)
            case .text: values[parameter] = ""
            case .list: break
            }
        }
    }

    /// Changes all parameters that `object` names, or none.
    ///
    /// - Parameter offered: What this monitor knows; other names are unexpected.
    /// - Throws: QEMU's sentence about the first type or range that is wrong.
    public mutating func set(
        _ object: QMPObject, offered: [MigrationParameter] = MigrationParameter.allCases
    ) throws(QMPError) {
        var arguments = Arguments(object)
        var next = self
        // Types first, ranges after, as QEMU reads and then applies.
        for parameter in offered { try next.read(parameter, &arguments) }
        try arguments.finish()
        for parameter in offered where object[parameter.rawValue] != nil { try next.check(parameter) }
        self = next
    }

    /// The answer to `query-migrate-parameters`.
    public func value(of offered: [MigrationParameter] = MigrationParameter.allCases) -> QMPValue {
        .object(QMPObject(offered.compactMap { name in values[name].map { (name.rawValue, $0) } }))
    }

    private mutating func read(
        _ parameter: MigrationParameter, _ arguments: inout Arguments
    ) throws(QMPError) {
        let name = parameter.rawValue
        guard arguments.has(name) else { return }
        switch parameter.kind {
        case .unsigned(let bitCount, _, _, _):
            values[parameter] = try arguments.optionalUnsigned(name, bitCount: bitCount).map { QMPValue($0) }
        case .bool: values[parameter] = try arguments.optionalBool(name).map { QMPValue($0) }
        case .word(let words, _):
            let word = try arguments.optionalString(name) ?? ""
            guard words.contains(word) else {
                throw QMPError("Parameter '\(name)' does not accept value '\(word)'")
            }
            values[parameter] = .string(word)
        case .text:
            switch arguments.optionalValue(name) {
            case .string(let text): values[parameter] = .string(text)
            case .null: values[parameter] = ""
            default: throw QMPError("Invalid parameter type for '\(name)', expected: StrOrNull")
            }
        case .list: values[parameter] = try arguments.optionalArray(name).map(QMPValue.array)
        }
    }

    private func check(_ parameter: MigrationParameter) throws(QMPError) {
        guard case .unsigned(_, let range, let limit, _) = parameter.kind else { return }
        let value = number(parameter)
        var isGood = range.contains(value)
        if parameter == .xbzrleCacheSize { isGood = isGood && value.nonzeroBitCount == 1 }
        if parameter == .maximumCPUThrottle { isGood = isGood && value >= number(.cpuThrottleInitial) }
        if !isGood {
            let name = String(parameter.rawValue.map { $0 == "-" ? "_" : $0 })
            throw QMPError("Parameter '\(name)' expects \(limit)")
        }
    }
}

/// The values in the types and units that the engine uses.
extension MigrationParameters {
    /// The value of a parameter that is a number, in the parameter's own unit.
    public func number(_ parameter: MigrationParameter) -> UInt64 { values[parameter]?.unsignedValue ?? 0 }
    /// The value of a parameter that is a switch.
    public func isOn(_ parameter: MigrationParameter) -> Bool { values[parameter]?.boolValue ?? false }
    /// The value of a parameter that is a word or a text.
    public func text(_ parameter: MigrationParameter) -> String { values[parameter]?.stringValue ?? "" }

    public var downtimeLimit: Duration { .milliseconds(number(.downtimeLimit)) }
    /// Bytes per second, nil when unlimited.
    public var maximumBandwidth: UInt64? { limit(.maximumBandwidth) }
    /// Bytes per second, nil when unlimited.
    public var maximumPostcopyBandwidth: UInt64? { limit(.maximumPostcopyBandwidth) }
    /// Bytes per second to count with at the switchover, nil when the measured ones count.
    public var availableSwitchoverBandwidth: UInt64? { limit(.availableSwitchoverBandwidth) }
    public var multifdChannelCount: Int { Int(number(.multifdChannels)) }

    private func limit(_ parameter: MigrationParameter) -> UInt64? {
        let value = number(parameter)
        return value == 0 ? nil : value
    }
}
