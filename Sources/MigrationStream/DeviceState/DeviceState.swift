/// A structure of device state with QEMU's name and versions for it.
public protocol StateFormat {
    /// QEMU's name of the description, `cpu` or `pit channel`.
    static var vmsdName: String { get }
    /// The version that is saved.
    static var currentVersion: Int { get }

    /// Names every field in wire order, once, for all directions of the coder.
    mutating func transfer(_ coder: inout StateCoder) throws(StateError)
}

/// The state of one device, which has a section of its own.
///
/// A fresh value is the state after reset, as far as the machine does not decide otherwise. What the machine decides
/// and the stream does not say (how many slots, which subsections are sent) are properties too; loading a section
/// leaves them as they were unless the section tells.
public protocol DeviceState: StateFormat, Sendable {
    /// The oldest version that is loaded.
    static var minimumVersion: Int { get }

    init()
}

/// A section's payload and the description that goes with it.
///
/// The payload is there at once. The description is made when it is asked for: it takes several times as long, and a
/// guest that stands still need not wait for it.
public struct SavedState: Equatable, Sendable {
    public var version: Int
    public var bytes: [UInt8]
    private let describe: @Sendable () -> StructureDescription

    init(version: Int, bytes: [UInt8], describe: @escaping @Sendable () -> StructureDescription) {
        self.version = version
        self.bytes = bytes
        self.describe = describe
    }

    public var structure: StructureDescription { describe() }

    public static func == (one: SavedState, other: SavedState) -> Bool {
        one.version == other.version && one.bytes == other.bytes && one.structure == other.structure
    }
}

/// A section's payload as it has come, and the state it holds if that was decoded on the way.
public struct ReceivedState: Sendable {
    public var version: Int
    public var bytes: [UInt8]
    private let decoded: (any DeviceState)?

    /// - Parameter decoded: What `bytes` hold, loaded into a fresh state, if it is known.
    public init(version: Int, bytes: [UInt8], decoded: (any DeviceState)? = nil) {
        self.version = version
        self.bytes = bytes
        self.decoded = decoded
    }

    /// The state of a device.
    ///
    /// - Throws: `StateError` for bytes that are no such state.
    public func state<State: DeviceState>(_: State.Type = State.self) throws(StateError) -> State {
        if let decoded = decoded as? State { return decoded }
        var state = State()
        try state.load(bytes, version: version)
        return state
    }
}

extension DeviceState {
    /// The payload of the section and its description.
    public func save() -> SavedState {
        SavedState(version: Self.currentVersion, bytes: encoded()) { [self] in description }
    }

    private var description: StructureDescription {
        var coder = StateCoder(
            .save, structure: Self.vmsdName, version: Self.currentVersion, recording: .description)
        run(&coder)
        return coder.recorded.structureDescription
    }

    /// The payload alone, which takes less time than `save`.
    public func encoded() -> [UInt8] { encoded(version: Self.currentVersion) }

    /// The payload as an older version has it.
    func encoded(version: Int) -> [UInt8] {
        var coder = StateCoder(.save, structure: Self.vmsdName, version: version)
        run(&coder)
        return coder.output
    }

    /// Bytes that the payload takes.
    public var byteCount: Int {
        var coder = StateCoder(.measure, structure: Self.vmsdName, version: Self.currentVersion)
        run(&coder)
        return coder.offset
    }

    /// The state as named values, also where QEMU's description has none.
    public var values: StateStructure {
        var coder = StateCoder(
            .save, structure: Self.vmsdName, version: Self.currentVersion, recording: .values)
        run(&coder)
        return coder.recorded
    }

    /// Sets the state from a section's payload.
    ///
    /// - Parameters:
    ///   - bytes: all that follows the version, up to the footer.
    ///   - version: the version that the section's header gives.
    /// - Throws: `StateError`; the state is then as it was.
    public mutating func load(_ bytes: [UInt8], version: Int) throws(StateError) {
        var loaded = self
        try unsafe StateCoder.load(bytes.span.bytes, structure: Self.vmsdName, version: version) {
            coder throws(StateError) in
            try loaded.load(from: &coder)
            try coder.finish()
        }
        self = loaded
    }

    /// A copy, because only loading changes a state.
    private func run(_ coder: inout StateCoder) {
        coder.recorded = StateStructure(name: Self.vmsdName, version: Self.currentVersion)
        var copy = self
        do {
            try copy.transfer(&coder)
        } catch {
            // Only bytes can be wrong, and there are none: a state that refuses its own values is a mistake here.
            preconditionFailure("\(Self.vmsdName) cannot be saved: \(error)")
        }
    }

    /// Loads one section from where the coder stands, without asking for its end.
    mutating func load(from coder: inout StateCoder) throws(StateError) {
        let supported = Self.minimumVersion...Self.currentVersion
        guard supported.contains(coder.version) else {
            throw .unsupportedVersion(
                structure: Self.vmsdName, found: coder.version, supported: supported, offset: 0)
        }
        coder.recorded = StateStructure(name: Self.vmsdName, version: coder.version)
        try transfer(&coder)
        try coder.refuseUnknownSubsection(of: Self.vmsdName)
    }
}

extension StateCoder {
    /// Refuses bytes that are left at the end of a section.
    func finish() throws(StateError) {
        guard remaining > 0 else { return }
        if let name = subsectionName {
            throw .unknownSubsection(name, structure: structureName, offset: offset)
        }
        throw .trailingBytes(structure: structureName, offset: offset, count: remaining)
    }
}
