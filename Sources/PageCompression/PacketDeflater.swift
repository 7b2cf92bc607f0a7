/// Compresses the pages of one multifd channel.
///
/// A channel has one compressed stream from its first packet to its last: the library's header stands only in the
/// first packet, every packet ends with a flush, and the stream is never finished. One value per channel, used by the
/// thread that owns the channel.
///
///     deflater.start(pageCount: 2)
///     try deflater.append(first, to: &output, at: &position)     // the library may keep it to itself
///     try deflater.append(last, to: &output, at: &position)      // the last page flushes
///
/// See QEMU migration/multifd-zlib.c, multifd-zstd.c.
public struct PacketDeflater: ~Copyable, Sendable {
    private var stream: Stream
    private var pagesLeft = 0

    // Not private: another module that stores this type needs its metadata, which a release build would not export.
    enum Stream: ~Copyable, Sendable {
        case zlib(ZlibDeflateStream)
        case zstd(ZstdCompressStream)
    }

    /// Starts the stream of a channel.
    ///
    /// - Parameter level: 0...9 for zlib, 0...20 for zstd; QEMU's default is 1 for both.
    public init(_ method: PageCompressionMethod, level: Int = 1) throws(CompressionError) {
        switch method {
        case .zlib: stream = .zlib(try ZlibDeflateStream(level: level))
        case .zstd: stream = .zstd(try ZstdCompressStream(level: level))
        }
    }

    /// The most bytes a packet of `pageCount` pages can become.
    public static func outputBound(_ method: PageCompressionMethod, pageCount: Int, pageSize: Int) -> Int {
        switch method {
        case .zlib: ZlibDeflateStream.outputBound(byteCount: pageCount * pageSize)
        case .zstd: ZstdCompressStream.outputBound(byteCount: pageCount * pageSize)
        }
    }

    /// Begins a packet of `pageCount` pages.
    ///
    /// - Precondition: the packet before it is complete.
    public mutating func start(pageCount: Int) {
        precondition(pagesLeft == 0, "\(pagesLeft) pages of the packet before are missing")
        pagesLeft = pageCount
    }

    /// Compresses `page` into `output` from `position` on, and moves `position` past what was written.
    ///
    /// - Parameter page: memory that nobody writes meanwhile. zlib reads a page more than once; a page that changes
    ///   under it becomes data that does not inflate. Copy guest memory first.
    /// - Precondition: `output` has `outputBound` bytes for the packet.
    public mutating func append(
        _ page: RawSpan, to output: inout MutableRawSpan, at position: inout Int
    ) throws(CompressionError) {
        precondition(pagesLeft > 0, "a page beyond the packet's page count")
        pagesLeft -= 1
        switch stream {
        case .zlib(let zlib): try zlib.compress(page, flush: pagesLeft == 0, to: &output, at: &position)
        case .zstd(let zstd): try zstd.compress(page, flush: pagesLeft == 0, to: &output, at: &position)
        }
    }
}
