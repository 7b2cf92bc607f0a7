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
    private var inflater = PacketPageInflater()
    private var deflater: PacketDeflater?
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
            let isInflated = try inflater.inflate(
                packet, input.unread.extracting(data), pageByteCount: decoder.pageByteCount)
            if isInflated {
                report.compressedPageCount += packet.normalPageCount
            } else {
                report.plainPageCount += packet.normalPageCount
            }
            if isInflated, recompresses {
                try compress(packet)
                return .replaced(byteCount)
            }
            replaceHeader(of: packet.byteCount, &input) { packet.write(into: &$0) }
        }
        return .inPlace(byteCount)
    }

    /// Puts the packet into `replacement`, its pages compressed anew.
    private mutating func compress(_ packet: MultifdPacket) throws {
        guard let method = inflater.method else { return }
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
            let page = Array(inflater.pages[index * pageByteCount..<(index + 1) * pageByteCount])
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
