import MigrationStream
import PageCompression

/// Decodes a multifd channel and encodes it again.
///
/// Compressed pages are inflated: data that does not make the announced pages is an error. They go out as they came,
/// or, if that is asked for, compressed anew by a stream of this side's own.
struct MultifdCodec: ChannelCodec, ~Copyable {
    private(set) var report = RewriteReport()
    private(set) var replacement: [UInt8] = []
    private var decoder: MultifdDecoder
    private let recompresses: Bool
    private var inflater: PacketInflater?
    private var deflater: PacketDeflater?
    private var method: PageCompressionMethod?
    /// The pages of one packet.
    private var pages: [UInt8] = []
    private var scratch: [UInt8] = []

    init(pageByteCount: Int = 4096, recompresses: Bool = false) {
        decoder = MultifdDecoder(pageByteCount: pageByteCount)
        self.recompresses = recompresses
    }

    mutating func step(_ input: inout StreamInput) throws -> ChannelStep {
        switch try decoder.next(in: input.unread, ended: input.hasEnded) {
        case .element(let element, let byteCount):
            report.elementCount += 1
            return try encode(element, byteCount: byteCount, &input)
        case .needsMore(let byteCount):
            return .needsMore(byteCount)
        case .finished:
            report.hasEndMark = true
            return .finished
        }
    }

    private mutating func encode(
        _ element: MultifdElement, byteCount: Int, _ input: inout StreamInput
    ) throws -> ChannelStep {
        switch element {
        case .hello(let hello):
            replaceHeader(of: MultifdHello.byteCount, &input) { hello.write(into: &$0) }
        case .deviceState(let packet, _):
            replaceHeader(of: MultifdDeviceStatePacket.byteCount, &input) { packet.write(into: &$0) }
        case .packet(let packet, let data):
            if packet.flags.contains(.sync) { report.syncCount += 1 }
            report.zeroPageCount += packet.zeroPageCount
            if try inflate(packet, data, input), recompresses {
                try compress(packet)
                return .replaced(byteCount)
            }
            replaceHeader(of: packet.byteCount, &input) { packet.write(into: &$0) }
        }
        return .inPlace(byteCount)
    }

    /// Inflates the packet's pages into `pages`; false if they are not compressed in a known way.
    private mutating func inflate(
        _ packet: MultifdPacket, _ data: Range<Int>, _ input: borrowing StreamInput
    ) throws -> Bool {
        guard packet.normalPageCount > 0 else { return false }
        guard let method = packet.flags.compression.method else {
            report.plainPageCount += packet.normalPageCount
            return false
        }
        report.compressedPageCount += packet.normalPageCount
        if inflater == nil {
            inflater = try PacketInflater(method)
            self.method = method
        }
        guard method == self.method else {
            throw ChangedCompression(packetNumber: packet.packetNumber, before: self.method ?? method, now: method)
        }
        let byteCount = packet.normalPageCount * decoder.pageByteCount
        if pages.count < byteCount { pages = [UInt8](repeating: 0, count: byteCount) }
        // The array is taken out of `self` meanwhile: a span of it would borrow all of `self`.
        var pages: [UInt8] = []
        swap(&pages, &self.pages)
        defer { swap(&pages, &self.pages) }
        var elements = pages.mutableSpan
        var bytes = elements.mutableBytes
        var target = bytes._mutatingExtracting(0..<byteCount)
        try inflater?.inflate(packet: input.unread.extracting(data), into: &target)
        return true
    }

    /// Puts the packet into `replacement`, its pages compressed anew.
    private mutating func compress(_ packet: MultifdPacket) throws {
        guard let method else { return }
        if deflater == nil { deflater = try PacketDeflater(method) }
        let pageByteCount = decoder.pageByteCount
        let bound = PacketDeflater.outputBound(
            method, pageCount: packet.normalPageCount, pageSize: pageByteCount)
        if scratch.count < bound { scratch = [UInt8](repeating: 0, count: bound) }
        var dataByteCount = 0
        deflater?.start(pageCount: packet.normalPageCount)
        var scratch: [UInt8] = []
        swap(&scratch, &self.scratch)
        defer { swap(&scratch, &self.scratch) }
        for index in 0..<packet.normalPageCount {
            let page = Array(pages[index * pageByteCount..<(index + 1) * pageByteCount])
            var elements = scratch.mutableSpan
            var output = elements.mutableBytes
            try deflater?.append(page.span.bytes, to: &output, at: &dataByteCount)
        }
        var changed = packet
        changed.announcedDataByteCount = UInt32(dataByteCount)
        replacement = [UInt8](repeating: 0, count: packet.byteCount)
        var elements = replacement.mutableSpan
        var writer = StreamWriter(elements.mutableBytes)
        changed.write(into: &writer)
        replacement.append(contentsOf: scratch[..<dataByteCount])
    }

    private mutating func replaceHeader(
        of byteCount: Int, _ input: inout StreamInput, _ write: (inout StreamWriter) -> Void
    ) {
        if input.replaceUnread(byteCount, scratch: &scratch, write) { report.changedElementCount += 1 }
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
