import MigrationStream
import PageCompression

/// What a relay would record of a migration with two multifd channels, in the way of QEMU 7.2: a sync for each section.
///
/// Page 1 is sent in the first pass by channel 0 and again in the second by channel 1: only with the syncs in step is
/// the second version the one that stays.
struct MultifdRecording {
    let main: [UInt8]
    private(set) var channels: [[UInt8]] = []

    init(compression: MultifdCompression) throws {
        main = SmallStream(firstPass: [.zero("ram", 0)]).bytes
        // Sections: start, part, end; a sync for each.
        let packets: [[[(Int, UInt8)]]] = [
            [[], [(1, 11), (2, 12)], []],
            [[], [(3, 13)], [(1, 21), (4, 14)]],
        ]
        for (channel, sections) in packets.enumerated() {
            var writer = MultifdWriter(channel: UInt8(channel), compression: compression)
            for pages in sections {
                if !pages.isEmpty { try writer.append(pages) }
                try writer.appendSync()
            }
            channels.append(writer.bytes)
        }
    }

    /// The pages of "ram" that the guest then has, by number.
    static let pages: [Int: [UInt8]] = [
        1: SmallStream.page(21), 2: SmallStream.page(12), 3: SmallStream.page(13), 4: SmallStream.page(14),
    ]
}

private struct MultifdWriter: ~Copyable {
    private(set) var bytes: [UInt8] = []
    private let compression: MultifdCompression
    private var deflater: PacketDeflater?
    private var number: UInt64 = 0

    init(channel: UInt8, compression: MultifdCompression) {
        self.compression = compression
        let hello = MultifdHello(channel: channel)
        append(MultifdHello.byteCount) { hello.write(into: &$0) }
    }

    mutating func append(_ pages: [(Int, UInt8)]) throws {
        let data = try encode(pages.map { SmallStream.page($0.1) })
        let packet = MultifdPacket(
            flags: MultifdFlags(rawValue: compression.rawValue), packetNumber: number, block: "ram",
            normalOffsets: pages.map { UInt64($0.0 * 4096) }, zeroOffsets: [], dataByteCount: data.count)
        append(packet.byteCount) { packet.write(into: &$0) }
        bytes += data
        number += 1
    }

    mutating func appendSync() throws {
        let packet = MultifdPacket(
            flags: MultifdFlags(rawValue: compression.rawValue | 1), packetNumber: number, block: "ram",
            normalOffsets: [], zeroOffsets: [], dataByteCount: 0)
        append(packet.byteCount) { packet.write(into: &$0) }
        number += 1
    }

    private mutating func encode(_ pages: [[UInt8]]) throws -> [UInt8] {
        let method: PageCompressionMethod
        switch compression {
        case .zlib: method = .zlib
        case .zstd: method = .zstd
        default: return pages.flatMap { $0 }
        }
        if deflater == nil { deflater = try PacketDeflater(method) }
        var output = [UInt8](
            repeating: 0, count: PacketDeflater.outputBound(method, pageCount: pages.count, pageSize: 4096))
        var position = 0
        deflater?.start(pageCount: pages.count)
        for page in pages {
            var elements = output.mutableSpan
            var target = elements.mutableBytes
            try deflater?.append(page.span.bytes, to: &target, at: &position)
        }
        return Array(output.prefix(position))
    }

    private mutating func append(_ byteCount: Int, _ write: (inout StreamWriter) -> Void) {
        var part = [UInt8](repeating: 0, count: byteCount)
        var elements = part.mutableSpan
        var writer = StreamWriter(elements.mutableBytes)
        write(&writer)
        bytes += part
    }
}
