import MigrationStream

/// Decodes a main, recovery or preempt channel and encodes it again.
struct MainChannelCodec: ChannelCodec {
    private(set) var report = RewriteReport()
    private(set) var replacement: [UInt8] = []
    private(set) var decoder: StreamDecoder
    private var encoder = ElementEncoder()
    private let convertsZeroPages: Bool
    /// Told the decoder's state between sections: what other channels of the migration need to know.
    private let publish: ((StreamDecoder) -> Void)?

    init(_ decoder: StreamDecoder, convertsZeroPages: Bool = false, publish: ((StreamDecoder) -> Void)? = nil) {
        self.decoder = decoder
        self.convertsZeroPages = convertsZeroPages
        self.publish = publish
    }

    mutating func step(_ input: inout StreamInput) throws -> ChannelStep {
        switch try decoder.next(in: input.unread, ended: input.hasEnded) {
        case .element(let element, let byteCount):
            report.elementCount += 1
            return try encode(element, byteCount: byteCount, &input)
        case .needsMore(let byteCount):
            return .needsMore(byteCount)
        case .finished:
            return .finished
        }
    }

    private mutating func encode(
        _ element: StreamElement, byteCount: Int, _ input: inout StreamInput
    ) throws -> ChannelStep {
        var isConverted = false
        switch element {
        case .pages(let run):
            count(run)
            isConverted = convertsZeroPages && run.content == .plain && convert(run, input)
        case .xbzrlePage: report.xbzrlePageCount += 1
        case .compressedPage: report.compressedPageCount += 1
        case .multifdFlush: report.syncCount += 1
        case .endOfStream: report.hasEndMark = true
        case .package(let contents): try encodePackage(contents, byteCount: byteCount, &input)
        case .footer, .command: publish?(decoder)
        default: break
        }
        if isConverted { return .replaced(byteCount) }
        let start = input.start
        let fits = try encoder.encode(
            element, byteCount: byteCount, blocks: decoder.blocks, in: &input.storage, at: start)
        report.changedElementCount = encoder.changedElementCount
        report.encodedDeviceCount = encoder.encodedDeviceCount
        report.copiedDeviceCount = encoder.copiedDeviceCount
        if !fits { replacement = encoder.encoded }
        return fits ? .inPlace(byteCount) : .replaced(byteCount)
    }

    /// Decodes the stream inside a package and encodes it in its place.
    private mutating func encodePackage(
        _ contents: Range<Int>, byteCount: Int, _ input: inout StreamInput
    ) throws {
        var nested = decoder.packageDecoder(offset: decoder.offset - byteCount + contents.lowerBound)
        var position = input.start + contents.lowerBound
        let end = input.start + contents.upperBound
        while case .element(let element, let byteCount) = try nested.next(
            in: input.storage.span.bytes.extracting(position..<end), ended: true)
        {
            report.elementCount += 1
            if case .pages(let run) = element { count(run) }
            let fits = try encoder.encode(
                element, byteCount: byteCount, blocks: nested.blocks, in: &input.storage, at: position)
            guard fits else { throw UnencodableElement(offset: nested.offset - byteCount, byteCount: byteCount) }
            position += byteCount
        }
    }

    private mutating func count(_ run: PageRun) {
        if run.content == .plain {
            report.plainPageCount += run.pageCount
        } else {
            report.zeroPageCount += run.pageCount
        }
    }

    /// Encodes the pages of a plain run anew, those of zeros as zero records; false if there are none.
    ///
    /// A record goes on naming its block exactly if it did before: the records around it, and so the block that they
    /// continue, stay the same.
    private mutating func convert(_ run: PageRun, _ input: borrowing StreamInput) -> Bool {
        let bytes = input.unread
        guard (0..<run.pageCount).contains(where: { isZeroPage(bytes.extracting(run.pageBytes($0))) }) else {
            return false
        }
        replacement.removeAll(keepingCapacity: true)
        var header = [UInt8](repeating: 0, count: StreamEncoder.maximumPageHeaderByteCount)
        for index in 0..<run.pageCount {
            let isZero = isZeroPage(bytes.extracting(run.pageBytes(index)))
            var page = run
            page.content = isZero ? .fill(0) : .plain
            var elements = header.mutableSpan
            var writer = StreamWriter(elements.mutableBytes)
            StreamEncoder.writeHeader(ofPage: index, of: page, blocks: decoder.blocks, into: &writer)
            replacement.append(contentsOf: header[..<writer.byteCount])
            if isZero {
                replacement.append(0)
                report.convertedPageCount += 1
            } else {
                bytes.extracting(run.pageBytes(index)).withUnsafeBytes { replacement.append(contentsOf: $0) }
            }
        }
        return true
    }
}

/// An element inside a package whose encoding has another length than it came with.
struct UnencodableElement: Error, CustomStringConvertible {
    let offset: Int
    let byteCount: Int

    var description: String {
        "The item of \(byteCount) bytes at offset \(offset) inside a package is encoded with another length."
    }
}
