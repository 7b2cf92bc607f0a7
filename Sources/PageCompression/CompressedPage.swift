/// Reads pages that were compressed one by one, as QEMU's old `compress` capability sends them.
///
/// Each is a complete zlib stream; the value keeps the library's memory from one page to the next.
public struct CompressedPageReader: ~Copyable, Sendable {
    private let stream: ZlibInflateStream

    public init() throws(CompressionError) { stream = try ZlibInflateStream() }

    /// Fills all of `page` from `data`, which must be one complete zlib stream of just that many bytes.
    ///
    /// - Note: After an error the value cannot be used again.
    public mutating func inflate(_ data: RawSpan, into page: inout MutableRawSpan) throws(CompressionError) {
        try stream.inflateWhole(data, into: &page)
    }
}
