/// The byte that begins each top-level item of a stream, and a subsection inside one.
public enum SectionType: UInt8, Equatable, Sendable {
    case endOfStream = 0x00
    case start = 0x01
    case part = 0x02
    case end = 0x03
    case full = 0x04
    case subsection = 0x05
    case description = 0x06
    case configuration = 0x07
    case command = 0x08
    case footer = 0x7e
}

/// The beginning of a section.
///
///     size  field
///        1  0x01 start, 0x02 part, 0x03 end, 0x04 full
///        4  section id
///      1+n  name         \
///        4  instance id   > start and full only
///        4  version      /
///
/// See QEMU migration/savevm.c, save_section_header.
public struct SectionHeader: Equatable, Sendable {
    /// Which part of a section it is.
    public enum Kind: UInt8, Equatable, Sendable {
        /// The first part of a section that goes on while the guest runs.
        case start = 0x01
        /// A further part.
        case part = 0x02
        /// The last part, written while the guest is stopped.
        case end = 0x03
        /// A whole section.
        case full = 0x04
    }

    /// Which part of a section it is.
    public var kind: Kind
    /// The number that the source picked for the section in this stream.
    public var id: UInt32
    /// The section's name; for `part` and `end` the one that `start` gave.
    public var name: String
    /// Tells sections of one name apart; for `part` and `end` the one that `start` gave.
    public var instance: UInt32
    /// The version of the section's layout; for `part` and `end` the one that `start` gave.
    public var version: UInt32

    public init(kind: Kind, id: UInt32, name: String, instance: UInt32, version: UInt32) {
        self.kind = kind
        self.id = id
        self.name = name
        self.instance = instance
        self.version = version
    }

    /// Whether the section holds RAM records.
    public var isRAM: Bool { name == "ram" }

    /// Whether the name, instance and version are on the wire.
    public var isNamed: Bool { kind == .start || kind == .full }

    /// The bytes on the wire.
    public var byteCount: Int { 5 + (isNamed ? 9 + name.utf8.count : 0) }

    /// Writes the header.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.write(kind.rawValue)
        writer.write(id)
        guard isNamed else { return }
        writer.writeName(name)
        writer.write(instance)
        writer.write(version)
    }
}

/// The bytes of a device's state, whose length is not on the wire.
public struct DevicePayload: Equatable, Sendable {
    /// The section that the state belongs to.
    public var section: SectionHeader
    /// The state, in the span given to the decoder.
    public var bytes: Range<Int>
    /// How the end was found.
    public var delimitation: Delimitation

    /// How the end of a payload was found.
    public enum Delimitation: Equatable, Sendable {
        /// The device's own layout is known, and its footer stood where the layout ends.
        case layout
        /// By looking for the footer and something that can follow it.
        case search
    }

    public init(section: SectionHeader, bytes: Range<Int>, delimitation: Delimitation) {
        self.section = section
        self.bytes = bytes
        self.delimitation = delimitation
    }
}

/// A device section that a stream held, for holding it against the description at the end.
public struct DeviceSectionRecord: Equatable, Sendable {
    public var name: String
    public var instance: UInt32
    public var version: UInt32
    /// The absolute offset of the state in the stream.
    public var offset: Int
    /// Bytes of the state.
    public var byteCount: Int

    public init(name: String, instance: UInt32, version: UInt32, offset: Int, byteCount: Int) {
        self.name = name
        self.instance = instance
        self.version = version
        self.offset = offset
        self.byteCount = byteCount
    }
}
