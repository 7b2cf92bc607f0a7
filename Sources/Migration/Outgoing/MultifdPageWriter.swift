internal import GuestMemory
internal import MigrationStream
internal import PageCompression

/// Writes pages as packets of a multifd channel: a header that lists them, then their bytes.
///
/// A packet holds up to 128 pages of one block. Pages of zeros are listed behind the others (QEMU since 9.0), or given
/// to the main channel through `zeroPages`.
final class MultifdPageWriter: PageWriter {
    private let output: StreamOutput
    private let counters: TransferCounters
    private let detection: StreamDialect.ZeroPageDetection
    private let zeroPages: ZeroPageQueue
    private let packetNumbers: PacketNumbers
    private var compressor: PacketCompressor?
    private var block: RAMBlock?
    private var region = -1
    private var normal: [UInt64] = []
    private var zero: [UInt64] = []
    private static let capacity = MultifdPacket.usualCapacity

    init(
        output: StreamOutput, counters: TransferCounters, dialect: StreamDialect, zeroPages: ZeroPageQueue,
        packetNumbers: PacketNumbers
    ) throws {
        self.output = output
        self.counters = counters
        detection = dialect.zeroPages
        self.zeroPages = zeroPages
        self.packetNumbers = packetNumbers
        compressor = try PacketCompressor(dialect.compression)
        normal.reserveCapacity(Self.capacity)
        zero.reserveCapacity(Self.capacity)
    }

    func append(region: Int, block: RAMBlock, first: Int, pageCount: Int) throws {
        if region != self.region {
            try sendPacket()
            self.region = region
            self.block = block
        }
        var zeroCount = 0
        let start = UnsafeRawBufferPointer(block.bytes(at: first * pageSize, count: pageCount * pageSize))
        for index in 0..<pageCount {
            let offset = (first + index) * pageSize
            let page = UnsafeRawBufferPointer(rebasing: start[index * pageSize..<(index + 1) * pageSize])
            if detection != .none && isZeroPage(page.bytes) {
                zeroCount += 1
                if detection == .legacy {
                    zeroPages.add(region: region, page: first + index)
                    continue
                }
                zero.append(UInt64(offset))
            } else {
                normal.append(UInt64(offset))
            }
            if normal.count + zero.count == Self.capacity { try sendPacket() }
        }
        counters.addPages(normal: pageCount - zeroCount, zero: zeroCount)
    }

    func finishPass() throws {
        try sendPacket()
        try output.flush()
    }

    /// Sends a packet that says: all pages of this pass are on their way.
    func sendSync() throws {
        try sendPacket()
        try writePacket(
            MultifdPacket(
                flags: flags.union(.sync), packetNumber: packetNumbers.next(), block: "", normalOffsets: [],
                zeroOffsets: [], dataByteCount: 0))
        try output.flush()
    }

    private var flags: MultifdFlags { compressor?.flags ?? [] }

    private func sendPacket() throws {
        guard let block, !normal.isEmpty || !zero.isEmpty else { return }
        var data = UnsafeRawBufferPointer(start: nil, count: 0)
        if compressor != nil && !normal.isEmpty {
            data = try compressor?.compress(normal, of: block) ?? data
        }
        let isCompressed = compressor != nil
        try writePacket(
            MultifdPacket(
                flags: flags, packetNumber: packetNumbers.next(), block: block.name, normalOffsets: normal,
                zeroOffsets: zero, dataByteCount: isCompressed ? data.count : normal.count * pageSize))
        if let start = data.baseAddress {
            output.append(UnsafeMutableRawPointer(mutating: start), count: data.count)
        } else if !isCompressed {
            for offset in normal { output.append(block.hostAddress + Int(offset), count: pageSize) }
        }
        normal.removeAll(keepingCapacity: true)
        zero.removeAll(keepingCapacity: true)
        // The compressor's output is written over by the next packet; a packet is large enough for a call of its own.
        try output.flush()
    }

    private func writePacket(_ packet: MultifdPacket) throws {
        try output.reserve(byteCount: packet.byteCount, pieceCount: Self.capacity + 1)
        try output.write(byteCount: packet.byteCount) { packet.write(into: &$0) }
    }
}

/// Compresses the pages of one channel's packets.
private final class PacketCompressor {
    let flags: MultifdFlags
    private var deflater: PacketDeflater
    private let page = UnsafeMutableRawBufferPointer.allocate(byteCount: pageSize, alignment: 16)
    private let output: UnsafeMutableRawBufferPointer

    /// Nil if nothing is to be compressed.
    init?(_ compression: StreamDialect.ChannelCompression) throws {
        let method: PageCompressionMethod
        let level: Int
        switch compression {
        case .none: return nil
        case .zlib(let chosen):
            (method, level) = (.zlib, chosen)
            flags = MultifdFlags(rawValue: MultifdCompression.zlib.rawValue)
        case .zstd(let chosen):
            (method, level) = (.zstd, chosen)
            flags = MultifdFlags(rawValue: MultifdCompression.zstd.rawValue)
        }
        deflater = try PacketDeflater(method, level: level)
        let bound = PacketDeflater.outputBound(
            method, pageCount: MultifdPacket.usualCapacity, pageSize: pageSize)
        output = .allocate(byteCount: bound, alignment: 16)
    }

    deinit {
        page.deallocate()
        output.deallocate()
    }

    /// The compressed pages at `offsets`, valid until the next call.
    func compress(_ offsets: [UInt64], of block: RAMBlock) throws -> UnsafeRawBufferPointer {
        var position = 0
        deflater.start(pageCount: offsets.count)
        for offset in offsets {
            // The guest may write the page meanwhile, and the library reads it more than once.
            block.read(at: Int(offset), into: page)
            var target = output.mutableBytes
            try deflater.append(UnsafeRawBufferPointer(page).bytes, to: &target, at: &position)
        }
        return UnsafeRawBufferPointer(rebasing: output[..<position])
    }
}

extension MultifdPacket {
    /// Offsets in a packet whose pages have 4 KiB.
    static let usualCapacity = pagesByteCount / pageSize
}
