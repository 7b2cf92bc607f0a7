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
    var isRecording: Bool {
        @inline(__always) get { if case .nothing = recording { false } else { true } }
    }
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
        if direction == .save { self.bytes.reserveCapacity(2 << 10) }
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

    /// Transfers a number, which loading returns.
    @inline(__always)
    mutating func word<Value: FixedWidthInteger & BitwiseCopyable>(
        _ value: Value, name: @autoclosure () -> String
    ) throws(StateError) -> Value {
        let width = MemoryLayout<Value>.size
        let start = offset
        offset = start + width
        switch direction {
        case .load:
            guard width <= bytes.count - start else {
                offset = start
                throw .truncated(field: fieldPath(name()), offset: start, missing: width - remaining)
            }
            // There are as many bytes.
            let word = unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: start, as: Value.self) }
            return Value(bigEndian: word)
        case .save:
            let word = value.bigEndian
            unsafe withUnsafeBytes(of: word) { unsafe bytes.append(contentsOf: $0) }
            return value
        case .measure: return value
        }
    }

    @inline(__always)
    mutating func record(
        _ name: String, type: String, byteCount: Int, elementCount: Int? = nil, _ value: @autoclosure () -> StateValue
    ) {
        guard isRecording else { return }
        recorded.fields.append(
            StateField(name: name, type: type, byteCount: byteCount, elementCount: elementCount, value: value()))
    }
}
