/// A subsection of the configuration section: something that both sides must agree on.
///
///     size  field
///        1  0x05
///      1+n  name
///        4  version, 1
///        n  contents
///
/// See QEMU migration/savevm.c, vmstate_configuration.
public enum ConfigurationSubsection: Equatable, Sendable {
    /// The guest's page size is 2 to this power; only sent by machines where it varies.
    case targetPageBits(UInt32)
    /// The capabilities in use that the destination must have on as well.
    case capabilities([String])
    /// The machine's UUID.
    case uuid(MachineUUID)
    /// A subsection that Apus does not know, kept as it is.
    case unknown(name: String, version: UInt32, contents: [UInt8])

    /// The name on the wire.
    public var name: String {
        switch self {
        case .targetPageBits: "configuration/target-page-bits"
        case .capabilities: "configuration/capabilities"
        case .uuid: "configuration/uuid"
        case .unknown(let name, _, _): name
        }
    }

    /// The bytes on the wire.
    public var byteCount: Int {
        let header = 6 + name.utf8.count
        switch self {
        case .targetPageBits: return header + 4
        case .capabilities(let names): return header + 4 + names.reduce(0) { $0 + 1 + $1.utf8.count }
        case .uuid: return header + 16
        case .unknown(_, _, let contents): return header + contents.count
        }
    }

    /// Writes the subsection.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.write(SectionType.subsection.rawValue)
        writer.writeName(name)
        switch self {
        case .targetPageBits(let bits):
            writer.write(1 as UInt32)
            writer.write(bits)
        case .capabilities(let names):
            writer.write(1 as UInt32)
            writer.write(UInt32(names.count))
            for name in names { writer.writeName(name) }
        case .uuid(let uuid):
            writer.write(1 as UInt32)
            uuid.write(into: &writer)
        case .unknown(_, let version, let contents):
            writer.write(version)
            writer.write(contents)
        }
    }
}

/// Names of capabilities that change what a stream holds, as QMP and the configuration section spell them.
public enum StreamCapability {
    /// Shared memory is not sent, and the block list holds guest addresses.
    public static let ignoreShared = "x-ignore-shared"
    /// Pages lie at fixed places of a file.
    public static let mappedRAM = "mapped-ram"
    /// Shared memory is handed over by descriptors (`StreamCommand.localMemory`): an addition of Apus.
    public static let local = "local"
}

/// The UUID of a machine: 16 bytes in the order of the text.
public struct MachineUUID: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// The first eight bytes, big-endian.
    public var high: UInt64
    /// The last eight bytes, big-endian.
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The UUID of a machine that has none.
    public static let none = MachineUUID(high: 0, low: 0)

    /// The usual text, such as `550e8400-e29b-41d4-a716-446655440000`.
    public var description: String {
        func digits(_ value: UInt64, _ count: Int) -> String {
            let text = String(value, radix: 16)
            return String(repeating: "0", count: count - text.utf8.count) + text
        }
        return [
            digits(high >> 32, 8), digits(high >> 16 & 0xffff, 4), digits(high & 0xffff, 4), digits(low >> 48, 4),
            digits(low & 0xffff_ffff_ffff, 12),
        ].joined(separator: "-")
    }

    /// The UUID written as `text`, nil if it is none.
    public init?(_ text: String) {
        let hex = text.utf8.filter { $0 != UInt8(ascii: "-") }
        guard hex.count == 32, text.utf8.count == 36 else { return nil }
        guard let high = UInt64(String(decoding: hex[0..<16], as: UTF8.self), radix: 16),
            let low = UInt64(String(decoding: hex[16...], as: UTF8.self), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    @_lifetime(writer: copy writer)
    func write(into writer: inout StreamWriter) {
        writer.write(high)
        writer.write(low)
    }
}
