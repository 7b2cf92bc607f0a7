/// What is wrong with the bytes of a device's state or with their description.
///
/// `field` is the path of the field, `cpu/env.segs[2]/base`. `offset` counts bytes from the start of the section's
/// payload (or of the JSON text), so a caller adds where that payload starts in its stream.
public enum StateError: Error, Equatable {
    /// The bytes end inside `field`; at least `missing` more are needed.
    case truncated(field: String, offset: Int, missing: Int)
    /// The state ends at `offset` and `count` bytes are left.
    case trailingBytes(structure: String, offset: Int, count: Int)
    /// A version that is not read here.
    case unsupportedVersion(structure: String, found: Int, supported: ClosedRange<Int>, offset: Int)
    /// A subsection that `structure` does not have.
    case unknownSubsection(String, structure: String, offset: Int)
    /// A subsection that was there already.
    case duplicateSubsection(String, offset: Int)
    /// A count or length beyond the limit that is named in `field`'s description.
    case limitExceeded(field: String, found: UInt64, limit: UInt64, offset: Int)
    /// A boolean that is neither 0 nor 1.
    case notBoolean(field: String, found: UInt8, offset: Int)
    /// A value that both sides must have configured alike.
    case unequal(field: String, expected: UInt64, found: UInt64, offset: Int)
    /// Values that cannot stand beside each other.
    case inconsistent(field: String, explanation: String, offset: Int)
    /// A structure that took another number of bytes than its description says.
    case sizeMismatch(field: String, described: Int, found: Int, offset: Int)
    /// A description that describes nothing that could be read.
    case invalidDescription(path: String, explanation: String)
    /// Text that is not JSON, or exceeds a limit of `JSONValue.Limits`.
    case invalidJSON(offset: Int, explanation: String)
    /// A section whose name and version no typed description here covers.
    case unknownDevice(String, version: Int)
}

extension StateError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .truncated(let field, let offset, let missing):
            "The state ends at byte \(offset) inside \(field), which needs \(missing) more."
        case .trailingBytes(let structure, let offset, let count):
            "The state of \(structure) ends at byte \(offset), yet \(count) bytes follow."
        case .unsupportedVersion(let structure, let found, let supported, let offset):
            "\(structure) has version \(found) at byte \(offset); "
                + "versions \(supported.lowerBound) to \(supported.upperBound) are read here."
        case .unknownSubsection(let name, let structure, let offset):
            "\(structure) has no subsection \(name), which is at byte \(offset)."
        case .duplicateSubsection(let name, let offset):
            "The subsection \(name) is there a second time at byte \(offset)."
        case .limitExceeded(let field, let found, let limit, let offset):
            "\(field) at byte \(offset) is \(found); the limit is \(limit)."
        case .notBoolean(let field, let found, let offset):
            "\(field) at byte \(offset) is \(found), which is neither 0 nor 1."
        case .unequal(let field, let expected, let found, let offset):
            "\(field) at byte \(offset) is \(found) in the stream and \(expected) here."
        case .inconsistent(let field, let explanation, let offset):
            "\(field) at byte \(offset) is inconsistent: \(explanation)."
        case .sizeMismatch(let field, let described, let found, let offset):
            "\(field) at byte \(offset) takes \(found) bytes; its description says \(described)."
        case .invalidDescription(let path, let explanation):
            "The description of \(path) cannot be used: \(explanation)."
        case .invalidJSON(let offset, let explanation):
            "The JSON text is wrong at byte \(offset): \(explanation)."
        case .unknownDevice(let name, let version):
            "The section \(name) version \(version) is of no device that is known here."
        }
    }
}
