/// The state of one device, or of one structure within it, as named values.
///
/// It comes from a description (`DescribedStateReader`) or from a typed device (`DeviceState.values`), keeps every
/// byte, and can be printed, compared and encoded again.
public struct StateStructure: Equatable, Sendable {
    /// QEMU's name of the description; nil for a device that has none.
    public var name: String?
    public var version: Int?
    public var fields: [StateField]
    /// The subsections that are there, in stream order.
    public var subsections: [StateStructure]

    public init(
        name: String?, version: Int?, fields: [StateField] = [], subsections: [StateStructure] = []
    ) {
        self.name = name
        self.version = version
        self.fields = fields
        self.subsections = subsections
    }

    /// The first field of this name, of this index if one is given.
    public func field(_ name: String, index: Int? = nil) -> StateField? {
        fields.first { $0.name == name && (index == nil || $0.index == index) }
    }

    /// The subsection of this name, or nil if the source did not send it.
    public func subsection(_ name: String) -> StateStructure? { subsections.first { $0.name == name } }
}

/// One named value.
public struct StateField: Equatable, Sendable {
    public var name: String
    /// QEMU's word for the type, as in `FieldDescription`.
    public var type: String
    /// Bytes on the wire, of one element if `elementCount` is given.
    public var byteCount: Int
    public var elementCount: Int?
    public var index: Int?
    public var value: StateValue

    public init(
        name: String, type: String, byteCount: Int, elementCount: Int? = nil, index: Int? = nil, value: StateValue
    ) {
        self.name = name
        self.type = type
        self.byteCount = byteCount
        self.elementCount = elementCount
        self.index = index
        self.value = value
    }
}

/// What a field holds.
public indirect enum StateValue: Equatable, Sendable {
    /// An unsigned integer of `StateField.byteCount` bytes, big-endian on the wire.
    case unsigned(UInt64)
    /// A signed integer of that many bytes.
    case signed(Int64)
    case boolean(Bool)
    /// Nanoseconds of the timer's clock at which it expires; nil if it is not pending.
    case timer(UInt64?)
    /// Bytes in stream order.
    case bytes([UInt8])
    case structure(StateStructure)
    /// The elements of an array that is described once.
    case array([StateValue])
}

extension StateStructure {
    /// The bytes that this state was read from.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        encode(into: &bytes)
        return bytes
    }

    private func encode(into bytes: inout [UInt8]) {
        for field in fields { field.value.encode(byteCount: field.byteCount, into: &bytes) }
        for subsection in subsections {
            let name = Array((subsection.name ?? "").utf8.prefix(255))
            bytes.append(StateCoder.subsectionMark)
            bytes.append(UInt8(name.count))
            bytes.append(contentsOf: name)
            StateValue.append(UInt64(truncatingIfNeeded: subsection.version ?? 0), byteCount: 4, to: &bytes)
            subsection.encode(into: &bytes)
        }
    }

    /// The description of this state as QEMU would send it.
    public var structureDescription: StructureDescription {
        StructureDescription(
            name: name, version: version, fields: fields.map(\.fieldDescription),
            subsections: subsections.map(\.structureDescription))
    }
}

extension StateField {
    /// The description of this field as QEMU would send it: the contents of types without one are left out.
    public var fieldDescription: FieldDescription {
        var description = FieldDescription(
            name: name, type: type, byteCount: byteCount, elementCount: elementCount, index: index)
        guard type == "struct" || type == "vstruct" || type == "tmp" else { return description }
        switch value {
        case .structure(let structure): description.structure = structure.structureDescription
        case .array(let elements):
            if case .structure(let structure)? = elements.first {
                description.structure = structure.structureDescription
            }
        default: break
        }
        return description
    }
}

extension StateValue {
    func encode(byteCount: Int, into bytes: inout [UInt8]) {
        switch self {
        case .unsigned(let value): StateValue.append(value, byteCount: byteCount, to: &bytes)
        case .signed(let value): StateValue.append(UInt64(bitPattern: value), byteCount: byteCount, to: &bytes)
        case .boolean(let value): bytes.append(value ? 1 : 0)
        case .timer(let expiry): StateValue.append(expiry ?? UInt64.max, byteCount: 8, to: &bytes)
        case .bytes(let contents): bytes.append(contentsOf: contents)
        case .structure(let structure): bytes.append(contentsOf: structure.encoded)
        case .array(let elements): for element in elements { element.encode(byteCount: byteCount, into: &bytes) }
        }
    }

    static func append(_ value: UInt64, byteCount: Int, to bytes: inout [UInt8]) {
        var shift = byteCount * 8
        while shift > 0 {
            shift -= 8
            bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
        }
    }
}
