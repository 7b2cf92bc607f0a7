/// Why compressed pages cannot be read or written.
public enum CompressionError: Error, Equatable, CustomStringConvertible {
    /// The library refuses the data: its own words, and how many bytes of the data it had taken.
    case corrupt(PageCompressionMethod, reason: String, position: Int)
    /// The data ended before the pages were complete.
    case tooShort(PageCompressionMethod, expected: Int, found: Int)
    /// The pages are complete and data is left over, or more pages would follow.
    case tooLong(PageCompressionMethod, dataLength: Int, position: Int)
    /// The library could not start, or failed while compressing.
    case failed(PageCompressionMethod, reason: String)

    public var description: String {
        switch self {
        case .corrupt(let method, let reason, let position):
            "\(method) data is damaged at byte \(position): \(reason)."
        case .tooShort(let method, let expected, let found):
            "\(method) data holds \(found) bytes of pages where \(expected) were announced."
        case .tooLong(let method, let dataLength, let position):
            "\(method) data is \(dataLength) bytes long and its pages end at byte \(position)."
        case .failed(let method, let reason):
            "\(method) failed: \(reason)."
        }
    }
}

/// How the pages of a multifd channel are compressed, in QEMU's word for it.
public enum PageCompressionMethod: String, Sendable, CustomStringConvertible {
    case zlib
    case zstd

    public var description: String { rawValue }
}
