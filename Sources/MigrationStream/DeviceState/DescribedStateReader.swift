/// Reads any device's state by the description that its stream brings along.
///
/// Every byte is accounted for: what the description does not cover is an error with its offset. Types that are not
/// known here stay bytes. A field's size that the description gets wrong is an error; so is a subsection that it does
/// not have. A subsection that it has and the bytes do not is left out of the result.
public struct DescribedStateReader {
    /// Values that one section may hold. Each takes at most 160 bytes of memory.
    public static let maximumValueCount = 1 << 20
    /// Structures within each other.
    public static let maximumDepth = 64

    private let bytes: [UInt8]
    private var offset = 0
    private var valueCount = 0
    private var path: [String] = []

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The named values of the section `description` describes.
    ///
    /// - Parameter bytes: the payload of the section: what follows the version, up to the footer.
    public static func values(of bytes: [UInt8], describedBy description: DeviceDescription)
        throws(StateError) -> StateStructure
    {
        var reader = DescribedStateReader(bytes)
        reader.path = [description.name]
        let structure = try reader.structure(description.structure).structure
        guard reader.offset == bytes.count else { throw reader.leftover(in: description) }
        return structure
    }

    /// The name of a subsection that starts here, or nil if none does.
    private var subsectionName: String? {
        unsafe StateCoder.subsectionName(in: bytes.span.bytes.extracting(droppingFirst: offset))
    }

    private func leftover(in description: DeviceDescription) -> StateError {
        if let name = subsectionName {
            return .unknownSubsection(name, structure: description.name, offset: offset)
        }
        return .trailingBytes(structure: description.name, offset: offset, count: bytes.count - offset)
    }

    /// The structure, and whether all subsections that are described were there: only then its size must be right.
    private mutating func structure(_ description: StructureDescription)
        throws(StateError) -> (structure: StateStructure, isComplete: Bool)
    {
        guard path.count <= Self.maximumDepth else {
            throw .limitExceeded(
                field: pathText, found: UInt64(path.count), limit: UInt64(Self.maximumDepth), offset: offset)
        }
        var structure = StateStructure(name: description.name, version: description.version)
        structure.fields.reserveCapacity(min(description.fields.count, bytes.count - offset + 1))
        var isComplete = true
        for field in description.fields {
            path.append(field.name)
            let (value, isWhole) = try self.field(field)
            path.removeLast()
            structure.fields.append(value)
            isComplete = isComplete && isWhole
        }
        while let subsection = try subsection(of: description, besides: structure.subsections) {
            structure.subsections.append(subsection.structure)
            isComplete = isComplete && subsection.isComplete
        }
        return (structure, isComplete && structure.subsections.count == description.subsections.count)
    }

    private mutating func subsection(of description: StructureDescription, besides found: [StateStructure])
        throws(StateError) -> (structure: StateStructure, isComplete: Bool)?
    {
        guard let name = subsectionName,
            let subsection = description.subsections.first(where: { $0.name == name })
        else { return nil }
        guard !found.contains(where: { $0.name == name }) else {
            throw .duplicateSubsection(name, offset: offset)
        }
        path.append(name)
        let start = offset
        offset += 2 + name.utf8.count
        let version = Int(try integer(byteCount: 4))
        guard version == subsection.version else {
            let described = subsection.version ?? 0
            throw .unsupportedVersion(
                structure: name, found: version, supported: described...described, offset: start)
        }
        let result = try structure(subsection)
        path.removeLast()
        return result
    }

    private mutating func field(_ description: FieldDescription) throws(StateError) -> (StateField, Bool) {
        var field = StateField(
            name: description.name, type: description.type, byteCount: description.byteCount,
            elementCount: description.elementCount, index: description.index, value: .unsigned(0))
        guard let count = description.elementCount else {
            let (value, isComplete) = try value(description)
            field.value = value
            return (field, isComplete)
        }
        // Elements without bytes would let a short description ask for any number of values.
        guard description.byteCount > 0 else {
            throw .invalidDescription(path: pathText, explanation: "its elements have no size")
        }
        guard count <= (bytes.count - offset) / description.byteCount else {
            let (needed, overflows) = count.multipliedReportingOverflow(by: description.byteCount)
            throw .truncated(
                field: pathText, offset: offset, missing: overflows ? Int.max : needed - (bytes.count - offset))
        }
        var elements: [StateValue] = []
        elements.reserveCapacity(count)
        var isComplete = true
        for _ in 0..<count {
            let (element, isWhole) = try value(description)
            elements.append(element)
            isComplete = isComplete && isWhole
        }
        field.value = .array(elements)
        return (field, isComplete)
    }

    private mutating func value(_ description: FieldDescription) throws(StateError) -> (StateValue, Bool) {
        valueCount += 1
        guard valueCount <= Self.maximumValueCount else {
            throw .limitExceeded(
                field: pathText, found: UInt64(valueCount), limit: UInt64(Self.maximumValueCount), offset: offset)
        }
        if let structure = description.structure {
            let start = offset
            let (value, isComplete) = try self.structure(structure)
            guard !isComplete || offset - start == description.byteCount else {
                throw .sizeMismatch(
                    field: pathText, described: description.byteCount, found: offset - start, offset: start)
            }
            return (.structure(value), isComplete)
        }
        return (try scalar(description), true)
    }

    private mutating func scalar(_ description: FieldDescription) throws(StateError) -> StateValue {
        let kind = description.type.prefix { $0 != " " }  // "int32 equal" and "int32 le" are checks on an int32.
        switch (kind, description.byteCount) {
        case ("uint8", 1), ("uint16", 2), ("uint32", 4), ("uint64", 8):
            return .unsigned(try integer(byteCount: description.byteCount))
        case ("int8", 1), ("int16", 2), ("int32", 4), ("int64", 8):
            let shift = 64 - 8 * description.byteCount
            let value = Int64(bitPattern: try integer(byteCount: description.byteCount) << UInt64(shift))
            return .signed(value >> Int64(shift))
        case ("bool", 1):
            let value = try integer(byteCount: 1)
            return value <= 1 ? .boolean(value == 1) : .unsigned(value)
        case ("timer", 8):
            let expiry = try integer(byteCount: 8)
            return .timer(expiry == UInt64.max ? nil : expiry)
        default:
            try need(description.byteCount)
            offset += description.byteCount
            return .bytes(Array(bytes[(offset - description.byteCount)..<offset]))
        }
    }

    private mutating func integer(byteCount: Int) throws(StateError) -> UInt64 {
        try need(byteCount)
        var value: UInt64 = 0
        for byte in bytes[offset..<(offset + byteCount)] { value = value << 8 | UInt64(byte) }
        offset += byteCount
        return value
    }

    private func need(_ byteCount: Int) throws(StateError) {
        guard byteCount <= bytes.count - offset else {
            throw .truncated(field: pathText, offset: offset, missing: byteCount - (bytes.count - offset))
        }
    }

    private var pathText: String { path.joined(separator: "/") }
}
