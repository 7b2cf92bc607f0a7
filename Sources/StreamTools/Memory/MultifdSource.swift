import MigrationStream

/// One multifd channel that is read along with its main channel.
///
/// A class only so that there can be an array of them.
final class MultifdSource {
    private var channel: MultifdChannel

    init(_ input: consuming StreamInput) { channel = MultifdChannel(input) }

    var hasEnded: Bool { channel.hasEnded }

    /// Loads the packets up to the next sync, or to the channel's end, into `blocks`.
    func loadToSync(_ blocks: [MemoryLoader.Block]) throws { try channel.loadToSync(blocks) }
}

private struct MultifdChannel: ~Copyable {
    private var input: StreamInput
    private var decoder: MultifdDecoder
    private var inflater = PacketPageInflater()
    private(set) var hasEnded = false

    init(_ input: consuming StreamInput, pageByteCount: Int = 4096) {
        self.input = input
        decoder = MultifdDecoder(pageByteCount: pageByteCount)
    }

    mutating func loadToSync(_ blocks: [MemoryLoader.Block]) throws {
        while !hasEnded {
            switch try decoder.next(in: input.unread, ended: input.hasEnded) {
            case .element(let element, let byteCount):
                var isSync = false
                if case .packet(let packet, let data) = element {
                    try load(packet, data, blocks)
                    isSync = packet.flags.contains(.sync)
                }
                input.take(byteCount)
                if isSync { return }
            case .needsMore(let byteCount):
                try input.fill(atLeast: byteCount)
            case .finished:
                hasEnded = true
            }
        }
    }

    private mutating func load(_ packet: MultifdPacket, _ data: Range<Int>, _ blocks: [MemoryLoader.Block]) throws {
        if packet.normalPageCount + packet.zeroPageCount == 0 { return }
        guard let block = blocks.first(where: { $0.name == packet.block }) else {
            throw UnknownMultifdBlock(name: packet.block)
        }
        let pageByteCount = decoder.pageByteCount
        let bytes = input.unread.extracting(data)
        let isInflated = try inflater.inflate(packet, bytes, pageByteCount: pageByteCount)
        guard isInflated || packet.normalPageCount == 0 || packet.flags.compression == .none else {
            throw UnreadableCompression(flags: packet.flags.rawValue, packetNumber: packet.packetNumber)
        }
        guard let file = block.file else { return }
        for slot in 0..<(packet.normalPageCount + packet.zeroPageCount) {
            let offset = Int(clamping: packet.offsets[slot])
            guard offset <= file.byteCount - pageByteCount else {
                throw PageOutsideBlock(block: block.name, blockOffset: offset, byteCount: file.byteCount)
            }
            if slot >= packet.normalPageCount {
                try file.clear(offset..<(offset + pageByteCount))
                continue
            }
            let range = slot * pageByteCount..<(slot + 1) * pageByteCount
            if isInflated {
                try file.write(inflater.pages.span.bytes.extracting(range), at: offset)
            } else {
                try file.write(bytes.extracting(range), at: offset)
            }
        }
    }
}

/// Pages that are compressed by a method of which only hardware libraries know.
struct UnreadableCompression: Error, CustomStringConvertible {
    let flags: UInt32
    let packetNumber: UInt64

    var description: String {
        "Packet \(packetNumber) is compressed in a way that is not known here (flags \(hexadecimal(Int(flags))))."
    }
}

/// A multifd packet that names a block which the main channel has not.
struct UnknownMultifdBlock: Error, CustomStringConvertible {
    let name: String
    var description: String { "A multifd packet names the block \(name), which the main channel does not announce." }
}

/// A page of a multifd packet outside its block.
struct PageOutsideBlock: Error, CustomStringConvertible {
    let block: String
    let blockOffset: Int
    let byteCount: Int
    var description: String {
        "A multifd packet has a page at \(hexadecimal(blockOffset)) of \(block), which has \(byteCount) bytes."
    }
}
