/// Carries the state of a device between its fields and the bytes of a section.
///
/// A device has one function that names its fields in wire order. The coder's direction decides what naming a field
/// does: `load` sets the field from the bytes, `save` appends its bytes, `measure` only counts them. So the two sides
/// of a migration cannot drift apart, and the description that QEMU sends along is a by-product.
///
///     mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
///         try coder.field("sel", &selector)
///         try coder.subsections { coder throws(StateError) in
///             try coder.subsection("acpi-ged/memhp", isNeeded: true) { coder throws(StateError) in … }
///         }
///     }
///
/// See QEMU migration/vmstate.c for the rules. Everything is big-endian, without names, padding or lengths.
public struct StateCoder {
    /// What naming a field does.
    public enum Direction: Sendable {
        case load
        case save
        case measure
    }

    /// What is kept beside the bytes.
    enum Recording {
        case nothing
        /// What the description tells: the first element of an array, no contents of types without a description.
        case description
        case values
    }

    /// The byte that starts a subsection.
    static let subsectionMark: UInt8 = 5

    public let direction: Direction
    /// The version of the structure that is being transferred: when loading, the one that the source wrote.
    public internal(set) var version: Int
    /// Bytes transferred so far.
    public internal(set) var offset = 0

    /// The input when loading, the output when saving.
    var bytes: [UInt8]
    /// Whether `bytes` is all there is. If not, a subsection may still follow at its end.
    let isWhole: Bool
    var recording: Recording
    var recorded = StateStructure(name: nil, version: nil)
    /// The structures around the current field, by name and index in an array.
    var path: [(name: String, index: Int?)]
    /// QEMU's name of the current structure, with which the names of its subsections start.
    var structureName: String
    /// The subsection to load next, within `subsections`.
    var wanted: String?
    var isLoaded = false

    init(
        _ direction: Direction, structure: String, version: Int, bytes: [UInt8] = [], isWhole: Bool = true,
        recording: Recording = .nothing
    ) {
        self.direction = direction
        self.version = version
        self.bytes = bytes
        self.isWhole = isWhole
        self.recording = recording
        path = [(structure, nil)]
        structureName = structure
    }

    /// Bytes that are left to load.
    var remaining: Int { bytes.count - offset }

    /// The path of a field for an error.
    func fieldPath(_ name: String) -> String { pathText + "/" + name }

    var pathText: String {
        path.map { element in element.index.map { "\(element.name)[\($0)]" } ?? element.name }.joined(separator: "/")
    }

    func need(_ byteCount: Int, for name: String) throws(StateError) {
        guard byteCount <= remaining else {
            throw .truncated(field: fieldPath(name), offset: offset, missing: byteCount - remaining)
        }
    }

    /// Transfers the low `width` bytes of `value`; loads return the bytes as an unsigned number.
    mutating func word(_ value: UInt64, width: Int, name: @autoclosure () -> String) throws(StateError) -> UInt64 {
        var result = value
        switch direction {
        case .load:
            guard width <= remaining else {
                throw .truncated(field: fieldPath(name()), offset: offset, missing: width - remaining)
            }
            result = 0
            for index in offset..<(offset + width) { result = result << 8 | UInt64(bytes[index]) }
        case .save: StateValue.append(value, byteCount: width, to: &bytes)
        case .measure: break
        }
        offset += width
        return result
    }

    mutating func record(
        _ name: String, type: String, byteCount: Int, elementCount: Int? = nil, _ value: @autoclosure () -> StateValue
    ) {
        if case .nothing = recording { return }
        recorded.fields.append(
            StateField(name: name, type: type, byteCount: byteCount, elementCount: elementCount, value: value()))
    }
}
