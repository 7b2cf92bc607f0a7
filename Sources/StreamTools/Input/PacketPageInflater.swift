import MigrationStream
import PageCompression

/// Makes pages of the data of one multifd channel's packets, whatever its compression.
struct PacketPageInflater: ~Copyable {
    /// How the channel is compressed; nil as long as no compressed packet came.
    private(set) var method: PageCompressionMethod?
    /// The pages of the last compressed packet.
    private(set) var pages: [UInt8] = []
    private var inflater: PacketInflater?

    /// Inflates the packet's pages into `pages`; false if they are not compressed, or in a way that is not known here.
    ///
    /// - Throws: `CompressionError`, `ChangedCompression`.
    mutating func inflate(_ packet: MultifdPacket, _ data: RawSpan, pageByteCount: Int) throws -> Bool {
        guard packet.normalPageCount > 0, let method = packet.flags.compression.method else { return false }
        if inflater == nil {
            inflater = try PacketInflater(method)
            self.method = method
        }
        guard method == self.method else {
            throw ChangedCompression(packetNumber: packet.packetNumber, before: self.method ?? method, now: method)
        }
        let byteCount = packet.normalPageCount * pageByteCount
        // The array is taken out of `self` meanwhile: a span of it would borrow all of `self`.
        var pages: [UInt8] = []
        swap(&pages, &self.pages)
        defer { swap(&pages, &self.pages) }
        if pages.count < byteCount { pages = [UInt8](repeating: 0, count: byteCount) }
        var elements = pages.mutableSpan
        var bytes = elements.mutableBytes
        var target = bytes._mutatingExtracting(0..<byteCount)
        try inflater?.inflate(packet: data, into: &target)
        return true
    }
}

/// A channel whose packets are compressed in one way and then in another.
struct ChangedCompression: Error, CustomStringConvertible {
    let packetNumber: UInt64
    let before: PageCompressionMethod
    let now: PageCompressionMethod

    var description: String { "Packet \(packetNumber) is compressed with \(now), those before it with \(before)." }
}

extension MultifdCompression {
    /// The library that reads it, nil for none and for those of hardware.
    var method: PageCompressionMethod? {
        switch self {
        case .zlib: .zlib
        case .zstd: .zstd
        default: nil
        }
    }
}
