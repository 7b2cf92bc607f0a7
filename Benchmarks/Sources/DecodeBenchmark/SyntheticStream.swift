import MigrationStream

/// A whole stream in memory, with one RAM block and one part that holds all of its pages.
struct SyntheticStream {
    let bytes: [UInt8]
    let pageCount: Int

    /// A stream of `pageCount` pages, of which `isZero` says which are zero.
    init(pageCount: Int, isZero: (Int) -> Bool) {
        self.pageCount = pageCount
        let blocks = RAMBlockTable([RAMBlockDescription(name: "microvm.ram", usedByteCount: pageCount * 4096)])
        let ram = SectionHeader(kind: .start, id: 2, name: "ram", instance: 0, version: 4)
        var part = ram
        part.kind = .part
        let page = [UInt8]((0..<4096).map { UInt8(truncatingIfNeeded: $0 % 251 + 1) })
        var buffer = [UInt8](repeating: 0, count: pageCount * 4104 + 4096)
        var span = buffer.mutableSpan
        var writer = StreamWriter(span.mutableBytes)
        StreamEncoder.writeHeader(into: &writer)
        StreamEncoder.writeConfiguration(machine: "microvm", into: &writer)
        ram.write(into: &writer)
        StreamEncoder.writeBlockList(blocks, into: &writer)
        StreamEncoder.writeRecord(.endOfSection, into: &writer)
        StreamEncoder.writeFooter(sectionID: 2, into: &writer)
        part.write(into: &writer)
        var encoder = StreamEncoder()
        for index in 0..<pageCount {
            let kind: RAMRecordKind = isZero(index) ? .fill : .plain
            encoder.writePageHeader(
                kind, block: RAMBlockID(0), blockOffset: index * 4096, blocks: blocks, into: &writer)
            if kind == .fill { writer.write(0 as UInt8) } else { writer.write(page.span.bytes) }
        }
        StreamEncoder.writeRecord(.endOfSection, into: &writer)
        StreamEncoder.writeFooter(sectionID: 2, into: &writer)
        StreamEncoder.writeEndOfStream(into: &writer)
        let count = writer.byteCount
        bytes = Array(buffer[..<count])
    }

    /// Decodes the stream as a loader does, through a window of `window` bytes, and gives the number of pages.
    func decode(window: Int) throws -> Int {
        var decoder = StreamDecoder()
        var position = 0
        var end = min(window, bytes.count)
        var pages = 0
        while true {
            switch try decoder.next(in: bytes.span.bytes.extracting(position..<end), ended: end == bytes.count) {
            case .element(let element, let byteCount):
                if case .pages(let run) = element { pages += run.pageCount }
                position += byteCount
            case .needsMore(let byteCount):
                end = min(bytes.count, position + max(window, byteCount))
            case .finished:
                return pages
            }
        }
    }

    /// Decodes the stream through a window and encodes each element again into `output`; gives the bytes written.
    func rewrite(window: Int, output: inout [UInt8]) throws -> Int {
        var decoder = StreamDecoder()
        var position = 0
        var end = min(window, bytes.count)
        var written = 0
        while true {
            let unread = bytes.span.bytes.extracting(position..<end)
            switch try decoder.next(in: unread, ended: end == bytes.count) {
            case .element(let element, let byteCount):
                var span = output.mutableSpan
                var writer = StreamWriter(span.mutableBytes)
                StreamEncoder.write(element, blocks: decoder.blocks, source: unread, into: &writer)
                written += writer.byteCount
                position += byteCount
            case .needsMore(let byteCount):
                end = min(bytes.count, position + max(window, byteCount))
            case .finished:
                return written
            }
        }
    }
}
