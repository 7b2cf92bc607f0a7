import MigrationStream
import PageCompression

/// Reads a main, recovery or preempt channel to its end, and sums up what it holds.
///
/// It checks on the way what decoding alone does not: that XBZRLE updates can be applied, that compressed pages
/// inflate, and that the state of devices is what the description says.
public struct StreamScanner: StreamVisitor, ~Copyable {
    private var summary: StreamSummary
    private var states = DeviceStates()
    private var isPackaged = false
    private var packageEnd = 0
    private var description: [UInt8]?
    /// The section whose part is being read: its index in the summary.
    private var section: Int?
    private var partStart = 0
    private var pageBudget = PageSet.maximumPageCount
    private var pageReader: CompressedPageReader?

    /// Reads all of `input`. A damaged stream gives the summary of what came before, and `failure` says where.
    ///
    /// - Throws: `SystemError` when the input cannot be read.
    public static func scan(_ input: inout StreamInput, kind: ChannelKind) throws -> StreamSummary {
        var scanner = StreamScanner(summary: StreamSummary(kind: kind))
        do {
            try walk(&input, kind: kind, visitor: &scanner)
        } catch let error as StreamError {
            scanner.summary.failure = "\(error)"
        } catch let error as DamagedPage {
            scanner.summary.failure = "\(error)"
        }
        return scanner.finish(byteCount: input.byteCount)
    }

    private init(summary: StreamSummary) { self.summary = summary }

    private consuming func finish(byteCount: Int) -> StreamSummary {
        states.resolve(description: description)
        summary.byteCount = byteCount
        summary.devices = states.devices
        summary.descriptionProblem = states.descriptionProblem
        return summary
    }

    mutating func visit(
        _ element: StreamElement, at offset: Int, bytes: RawSpan, decoder: borrowing StreamDecoder
    ) throws {
        isPackaged = offset < packageEnd
        switch element {
        case .configuration(let machine): summary.machine = machine
        case .configurationSubsection(let subsection): summary.configuration.append(subsection)
        case .section(let header): begin(header, at: offset)
        case .footer: end(at: offset + 5)
        case .command(let command): append(command, at: offset)
        case .package(let contents):
            append(.package(byteCount: contents.count), at: offset)
            packageEnd = offset + contents.upperBound
        case .ramBlock(let id): add(decoder.blocks[id], id)
        case .pages(let run): count(run, decoder.blocks)
        case .xbzrlePage(let page): try check(page, isDelta: true, at: offset, bytes, decoder)
        case .compressedPage(let page): try check(page, isDelta: false, at: offset, bytes, decoder)
        case .mappedRAM(let piece): count(piece, bytes)
        case .deviceState(let payload):
            states.append(payload, bytes: bytes, offset: offset, isPackaged: isPackaged)
        case .description(let json):
            description = bytes.copy(json)
            summary.descriptionByteCount = json.count
        case .multifdFlush: summary.multifdFlushCount += 1
        case .endOfStream: summary.hasEndMark = true
        case .header, .ramBlockList, .ramEndOfSection, .rdmaHook: break
        }
    }

    private mutating func append(_ command: StreamCommand, at offset: Int) {
        summary.commandCount += 1
        guard summary.commands.count < StreamSummary.maximumCommandCount else { return }
        summary.commands.append(.init(offset: offset, command: command, isPackaged: isPackaged))
    }

    private mutating func begin(_ header: SectionHeader, at offset: Int) {
        if !header.isNamed, let known = summary.sections.lastIndex(where: { $0.id == header.id }) {
            summary.sections[known].partCount += 1
            section = known
        } else {
            section = summary.sections.count
            summary.sections.append(
                .init(
                    name: header.name, id: header.id, instance: header.instance, version: header.version,
                    offset: offset, byteCount: 0, partCount: 1, isPackaged: isPackaged))
        }
        partStart = offset
    }

    private mutating func end(at offset: Int) {
        guard let section else { return }
        summary.sections[section].byteCount += offset - partStart
    }

    private mutating func add(_ description: RAMBlockDescription, _ id: RAMBlockID) {
        while summary.blocks.count <= id.index { summary.blocks.append(.init(name: "")) }
        summary.blocks[id.index].name = description.name
        summary.blocks[id.index].usedByteCount = description.usedByteCount
        summary.blocks[id.index].hostPageByteCount = description.hostPageByteCount
        summary.blocks[id.index].guestAddress = description.guestAddress
        summary.blocks[id.index].mapping = description.mapping
    }

    private mutating func know(_ id: RAMBlockID, _ blocks: RAMBlockTable) {
        // A channel without a block list names its blocks in page records.
        if summary.blocks.count <= id.index || summary.blocks[id.index].name.isEmpty { add(blocks[id], id) }
    }

    private mutating func count(_ run: PageRun, _ blocks: RAMBlockTable) {
        know(run.block, blocks)
        if run.content == .plain {
            summary.blocks[run.block.index].plainPageCount += run.pageCount
        } else {
            summary.blocks[run.block.index].zeroPageCount += run.pageCount
        }
        summary.blocks[run.block.index].sentPages.insert(
            run.blockOffset / 4096, count: run.pageCount, budget: &pageBudget)
    }

    private mutating func count(_ piece: MappedRAMPiece, _ bytes: RawSpan) {
        guard piece.part == .bitmap else { return }
        let set = bytes.extracting(piece.bytes).withUnsafeBytes { $0.reduce(0) { $0 + $1.nonzeroBitCount } }
        summary.blocks[piece.block.index].mappedPageCount += set
    }

    private mutating func check(
        _ encoded: EncodedPage, isDelta: Bool, at offset: Int, _ bytes: RawSpan, _ decoder: borrowing StreamDecoder
    ) throws {
        know(encoded.block, decoder.blocks)
        let payload = bytes.extracting(encoded.payload)
        let block = encoded.block.index
        summary.blocks[block].sentPages.insert(encoded.blockOffset / 4096, count: 1, budget: &pageBudget)
        do {
            if isDelta {
                summary.blocks[block].xbzrlePageCount += 1
                try XBZRLE.validate(payload, pageByteCount: decoder.pageByteCount)
            } else {
                summary.blocks[block].compressedPageCount += 1
                try inflate(payload, pageByteCount: decoder.pageByteCount)
            }
        } catch {
            throw DamagedPage(
                offset: offset, block: summary.blocks[block].name, blockOffset: encoded.blockOffset,
                reason: "\(error)")
        }
    }

    private mutating func inflate(_ payload: RawSpan, pageByteCount: Int) throws {
        if pageReader == nil { pageReader = try CompressedPageReader() }
        var page = [UInt8](repeating: 0, count: pageByteCount)
        var elements = page.mutableSpan
        var bytes = elements.mutableBytes
        try pageReader?.inflate(payload, into: &bytes)
    }
}

/// A page record whose contents do not make a page.
public struct DamagedPage: Error, CustomStringConvertible {
    /// Where the record begins in the stream.
    public let offset: Int
    public let block: String
    public let blockOffset: Int
    public let reason: String

    public var description: String {
        "The page at 0x\(String(blockOffset, radix: 16)) of \(block) cannot be read, at offset \(offset): \(reason)"
    }
}
