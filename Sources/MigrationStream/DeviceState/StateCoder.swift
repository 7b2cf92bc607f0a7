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
@safe public struct StateCoder {
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

    /// What is loaded from. Lent for as long as the coder is there: see `load`.
    private let input: UnsafeRawBufferPointer
    /// What was saved.
    private(set) var output: [UInt8] = []
    /// Whether the input is all there is. If not, a subsection may still follow at its end.
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

    private init(
        _ direction: Direction, from input: UnsafeRawBufferPointer, structure: String, version: Int, isWhole: Bool,
        recording: Recording
    ) {
        self.direction = direction
        unsafe self.input = input
        self.version = version
        self.isWhole = isWhole
        self.recording = recording
        path = [(structure, nil)]
        structureName = structure
        if direction == .save { output.reserveCapacity(2 << 10) }
    }

    /// A coder that saves or measures.
    init(_ direction: Direction, structure: String, version: Int, recording: Recording = .nothing) {
        precondition(direction != .load, "nothing to load from")
        unsafe self.init(
            direction, from: UnsafeRawBufferPointer(start: nil, count: 0), structure: structure, version: version,
            isWhole: true, recording: recording)
    }

    /// Lends `body` a coder that loads from `bytes`, which it must not keep.
    static func load<Value>(
        _ bytes: RawSpan, structure: String, version: Int, isWhole: Bool = true, recording: Recording = .nothing,
        _ body: (inout StateCoder) throws(StateError) -> Value
    ) throws(StateError) -> Value {
        try unsafe bytes.withUnsafeBytes { (input) throws(StateError) in
            var coder = unsafe StateCoder(
                .load, from: input, structure: structure, version: version, isWhole: isWhole, recording: recording)
            return try body(&coder)
        }
    }

    /// Bytes that are there to load.
    var inputCount: Int { unsafe input.count }

    /// Bytes that are left to load.
    var remaining: Int { inputCount - offset }

    func byte(at offset: Int) -> UInt8 {
        precondition(0 <= offset && offset < inputCount, "byte \(offset) of \(inputCount)")
        return unsafe input[offset]
    }

    /// Bytes of the input.
    func contents(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        precondition(0 <= range.lowerBound && range.upperBound <= inputCount, "bytes \(range) of \(inputCount)")
        return unsafe UnsafeRawBufferPointer(rebasing: input[range])
    }

    /// Saves bytes as they are.
    mutating func append(_ contents: [UInt8]) { output.append(contentsOf: contents) }

    /// Saves bytes of 0.
    mutating func appendZeros(_ count: Int) { output.append(contentsOf: repeatElement(0, count: count)) }

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
            guard width <= inputCount - start else {
                offset = start
                throw .truncated(field: fieldPath(name()), offset: start, missing: width - remaining)
            }
            // There are as many bytes.
            let word = unsafe input.loadUnaligned(fromByteOffset: start, as: Value.self)
            return Value(bigEndian: word)
        case .save:
            let word = value.bigEndian
            unsafe withUnsafeBytes(of: word) { unsafe output.append(contentsOf: $0) }
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
