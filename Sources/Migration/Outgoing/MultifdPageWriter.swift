internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream
internal import PageCompression

/// Writes pages as packets of a multifd channel: a header that lists them, then their bytes.
///
/// A packet holds up to 128 pages of one block. Pages of zeros are listed behind the others (QEMU since 9.0), or given
/// to the main channel through `zeroQueue`.
///
/// Pages that are not copied go by calls of their own. One that the guest writes meanwhile may arrive torn; it is dirty
/// then, and its next copy goes over a channel after the next sync: for zero copy that waits until the kernel has let go
/// of the pages, and a peer that was lent pages has received them when it comes to the sync.
final class MultifdPageWriter: PageWriter {
    private let output: StreamOutput
    private let counters: TransferCounters
    private let detection: StreamDialect.ZeroPageDetection
    private let zeroQueue: ZeroPageQueue
    private let packetNumbers: PacketNumbers
    private let sending: PageSending
    private var compressor: PacketCompressor?
    private var block: RAMBlock?
    private var region = -1
    private var pages = PacketPages()
    private static let capacity = MultifdPacket.usualCapacity
    /// A copy of fewer pages costs less than the calls that it spares.
    private static let minimumUncopied = 8

    init(
        output: StreamOutput, counters: TransferCounters, dialect: StreamDialect, zeroPages: ZeroPageQueue,
        packetNumbers: PacketNumbers, sending: PageSending = .copied
    ) throws {
        self.sending = sending
        self.output = output
        self.counters = counters
        detection = dialect.zeroPages
        zeroQueue = zeroPages
        self.packetNumbers = packetNumbers
        compressor = try PacketCompressor(dialect.compression)
    }

    var findsZeroPages: Bool { detection != .none }

    func appendZeros(region: Int, block: RAMBlock, first: Int, pageCount: Int) throws {
        try begin(region, block)
        for group in stride(from: first, to: first + pageCount, by: 64) {
            try add(group, count: min(64, first + pageCount - group), isZero: .max)
        }
        counters.addPages(normal: 0, zero: pageCount)
    }

    private func begin(_ region: Int, _ block: RAMBlock) throws {
        if region == self.region { return }
        try sendPacket()
        self.region = region
        self.block = block
    }

    func append(region: Int, block: RAMBlock, first: Int, pageCount: Int) throws {
        try begin(region, block)
        var zeroCount = 0
        for group in stride(from: first, to: first + pageCount, by: 64) {
            let count = min(64, first + pageCount - group)
            let start = block.bytes(at: group * pageSize, count: count * pageSize)
            guard let address = start.baseAddress else { return }
            let isZero = detection == .none ? 0 : zeroPages(at: address, count: count)
            zeroCount += isZero.nonzeroBitCount
            try add(group, count: count, isZero: isZero)
        }
        counters.addPages(normal: pageCount - zeroCount, zero: zeroCount)
    }

    /// Adds up to 64 pages from page `first` on; a bit of `isZero` says whether one is zero.
    private func add(_ first: Int, count: Int, isZero: UInt64) throws {
        var index = 0
        while index < count {
            if pages.count == Self.capacity { try sendPacket() }
            let isZeroRun = isZero >> UInt64(index) & 1 == 1
            let others = (isZeroRun ? ~isZero : isZero) >> UInt64(index)
            let length = min(count - index, others.trailingZeroBitCount)
            if isZeroRun && detection == .legacy {
                zeroQueue.add(region: region, first: first + index, pageCount: length)
                index += length
            } else {
                let fitting = min(length, Self.capacity - pages.count)
                pages.append(first + index, count: fitting, isZero: isZeroRun)
                index += fitting
            }
        }
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
        if sending == .uncopied, try output.finishZeroCopy() { counters.addMissedZeroCopy() }
    }

    private var flags: MultifdFlags { compressor?.flags ?? [] }

    private func sendPacket() throws {
        guard let block, pages.count > 0 else { return }
        var data = UnsafeRawBufferPointer(start: nil, count: 0)
        if compressor != nil && !pages.normal.isEmpty {
            data = try compressor?.compress(pages.normal, of: block) ?? data
        }
        let isCompressed = compressor != nil
        // The compressor's output is written over by the next packet; a packet is large enough for a call of its own.
        let way = isCompressed || pages.normal.count < Self.minimumUncopied ? .copied : sending
        try writePacket(
            MultifdPacket(
                flags: flags, packetNumber: packetNumbers.next(), block: block.name, normalOffsets: pages.normal,
                zeroOffsets: pages.zero, dataByteCount: isCompressed ? data.count : pages.normal.count * pageSize))
        if let start = data.baseAddress {
            output.append(UnsafeMutableRawPointer(mutating: start), count: data.count)
        } else if !isCompressed {
            if way != .copied { try output.flush() }
            for run in pages.normalRuns { output.append(block.hostAddress + run.lowerBound, count: run.count) }
        }
        pages.removeAll()
        try output.flush(way)
    }

    private func writePacket(_ packet: MultifdPacket) throws {
        try output.reserve(byteCount: packet.byteCount, pieceCount: Self.capacity + 1)
        try output.write(byteCount: packet.byteCount) { packet.write(into: &$0) }
    }
}

/// The pages of the packet that is being put together.
private struct PacketPages {
    private(set) var normal: [UInt64] = []
    private(set) var zero: [UInt64] = []
    /// The bytes of the block that `normal` names, in pieces as long as they are.
    private(set) var normalRuns: [Range<Int>] = []

    var count: Int { normal.count + zero.count }

    mutating func append(_ first: Int, count: Int, isZero: Bool) {
        let start = first * pageSize
        for index in 0..<count {
            let offset = UInt64(start + index * pageSize)
            if isZero { zero.append(offset) } else { normal.append(offset) }
        }
        if isZero { return }
        if let last = normalRuns.last, last.upperBound == start {
            normalRuns[normalRuns.count - 1] = last.lowerBound..<start + count * pageSize
        } else {
            normalRuns.append(start..<start + count * pageSize)
        }
    }

    mutating func removeAll() {
        normal.removeAll(keepingCapacity: true)
        zero.removeAll(keepingCapacity: true)
        normalRuns.removeAll(keepingCapacity: true)
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
