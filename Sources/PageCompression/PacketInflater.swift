/// Reads the compressed pages of one multifd channel.
///
/// One value per channel, used by the thread that owns the channel; packets are given in the order of the wire. After
/// an error the channel cannot go on.
///
///     inflater.start(data)                                   // of one packet
///     try inflater.inflate(data, into: &page)                // once per page, straight into its place
///     try inflater.finish(data)                              // all data is used, no page is left
public struct PacketInflater: ~Copyable, Sendable {
    private var stream: Stream
    private var position = 0

    // Not private: another module that stores this type needs its metadata, which a release build would not export.
    enum Stream: ~Copyable, Sendable {
        case zlib(ZlibInflateStream)
        case zstd(ZstdDecompressStream)
    }

    /// Starts the stream of a channel.
    public init(_ method: PageCompressionMethod) throws(CompressionError) {
        switch method {
        case .zlib: stream = .zlib(try ZlibInflateStream())
        case .zstd: stream = .zstd(try ZstdDecompressStream())
        }
    }

    /// Begins a packet.
    public mutating func start() { position = 0 }

    /// Fills all of `page` with the next bytes of the packet's `data`.
    ///
    /// - Throws: `CompressionError` if the data ends before, or is damaged.
    public mutating func inflate(_ data: RawSpan, into page: inout MutableRawSpan) throws(CompressionError) {
        let length = page.byteCount
        switch stream {
        case .zlib(let zlib): position += try zlib.inflate(data, from: position, into: &page, length: length)
        case .zstd(let zstd): position += try zstd.inflate(data, from: position, into: &page, length: length)
        }
    }

    /// Ends the packet: takes the flush that ends its data, and refuses anything else.
    public mutating func finish(_ data: RawSpan) throws(CompressionError) {
        switch stream {
        case .zlib(let zlib): try zlib.finish(data, from: position)
        case .zstd(let zstd): try zstd.finish(data, from: position)
        }
    }

    /// Reads a whole packet: `pages` is filled, and `data` used up.
    public mutating func inflate(packet data: RawSpan, into pages: inout MutableRawSpan) throws(CompressionError) {
        start()
        try inflate(data, into: &pages)
        try finish(data)
    }
}
