import LinuxSystem
import MigrationStream
import PageCompression

/// Loads the memory of a migration's RAM blocks into files, as a destination would into the guest's memory.
struct MemoryLoader: StreamVisitor, ~Copyable {
    /// Makes the file for a block; nil for one whose memory is not wanted.
    typealias Place = (RAMBlockDescription) throws -> BlockFile?

    /// A block that the stream has, and its memory if that is wanted.
    struct Block {
        var name: String
        var file: BlockFile?
    }

    private(set) var blocks: [Block] = []
    private let place: Place
    private let report: StreamInput.Report?
    /// Sees each element as well, and the span of its ranges.
    private let observe: (StreamElement, Int, RawSpan) throws -> Void
    private var reader: CompressedPageReader?
    private var page: [UInt8] = []
    private var multifd: [MultifdSource] = []
    private var hasFlushRecords = false
    /// Where the blocks of the present channel's table are in `blocks`.
    private var indices: [Int] = []

    init(
        report: StreamInput.Report? = nil,
        observe: @escaping (StreamElement, Int, RawSpan) throws -> Void = { _, _, _ in },
        _ place: @escaping Place
    ) {
        self.report = report
        self.observe = observe
        self.place = place
    }

    /// Loads everything of all channels.
    ///
    /// Channels other than multifd are loaded one after another: what a preempt channel or a recovery brings is not
    /// in the channels before. Only the last main channel must be whole.
    mutating func load(_ source: StreamSource) throws {
        for channel in source.channels where channel.kind == .multifd {
            multifd.append(MultifdSource(try StreamInput(opening: channel.path)))
        }
        let rest = source.channels.filter { $0.kind != .multifd }
        let lastMain = rest.lastIndex { $0.kind == .migration || $0.kind == .recovery } ?? 0
        for (index, channel) in rest.enumerated() {
            var input = try StreamInput(opening: channel.path, report: report)
            do {
                try load(&input)
            } catch let error as StreamError where index < lastMain {
                guard case .truncated = error else { throw error }
            }
        }
        for block in blocks { try block.file?.flush() }
    }

    private mutating func load(_ input: inout StreamInput) throws {
        let kind = try input.channelKind()
        guard kind.streamKind != nil else { throw MemoryElsewhere(kind: kind) }
        indices = []
        try walk(&input, kind: kind, visitor: &self)
    }

    mutating func visit(
        _ element: StreamElement, at offset: Int, bytes: RawSpan, decoder: borrowing StreamDecoder
    ) throws {
        try observe(element, offset, bytes)
        switch element {
        case .ramBlock(let id): _ = try index(of: id, decoder.blocks)
        case .pages(let run): try load(run, bytes, decoder.blocks)
        case .xbzrlePage(let page): try load(page, isDelta: true, at: offset, bytes, decoder)
        case .compressedPage(let page): try load(page, isDelta: false, at: offset, bytes, decoder)
        case .mappedRAM(let piece): try load(piece, bytes, decoder.blocks)
        case .command(.postcopyDiscard(let discard)): try forget(discard)
        case .multifdFlush:
            hasFlushRecords = true
            try syncMultifd()
        case .ramEndOfSection: if !hasFlushRecords { try syncMultifd() }
        case .endOfStream:
            while multifd.contains(where: { !$0.hasEnded }) { try syncMultifd() }
        default: break
        }
    }

    /// Loads what the multifd channels sent up to their next sync.
    ///
    /// A QEMU since 8.1 marks each sync with a flush record; before, and if told so, each section's end is one. A page
    /// is sent once between two syncs, whatever the channel, so the order within does not matter.
    private mutating func syncMultifd() throws {
        for source in multifd { try source.loadToSync(blocks) }
    }

    /// Where the block is in `blocks`.
    private mutating func index(of id: RAMBlockID, _ table: RAMBlockTable) throws -> Int {
        while indices.count <= id.index {
            let description = table[RAMBlockID(indices.count)]
            if let known = blocks.firstIndex(where: { $0.name == description.name }) {
                indices.append(known)
            } else {
                indices.append(blocks.count)
                blocks.append(Block(name: description.name, file: try place(description)))
            }
        }
        return indices[id.index]
    }

    private mutating func load(_ run: PageRun, _ bytes: RawSpan, _ table: RAMBlockTable) throws {
        guard let file = blocks[try index(of: run.block, table)].file else { return }
        try file.grow(to: run.endOffset)
        switch run.content {
        case .fill(let byte):
            if byte == 0 { return try file.clear(run.blockOffset..<run.endOffset) }
            for index in 0..<run.pageCount {
                let start = run.blockOffset + index * run.pageByteCount
                try file.fill(byte, start..<(start + run.pageByteCount))
            }
        case .plain:
            for index in 0..<run.pageCount {
                try file.write(
                    bytes.extracting(run.pageBytes(index)), at: run.blockOffset + index * run.pageByteCount)
            }
        }
    }

    private mutating func load(
        _ encoded: EncodedPage, isDelta: Bool, at offset: Int, _ bytes: RawSpan, _ decoder: borrowing StreamDecoder
    ) throws {
        let byteCount = decoder.pageByteCount
        let block = blocks[try index(of: encoded.block, decoder.blocks)]
        guard let file = block.file else { return }
        if page.count != byteCount { page = [UInt8](repeating: 0, count: byteCount) }
        let range = encoded.blockOffset..<(encoded.blockOffset + byteCount)
        try file.grow(to: range.upperBound)
        let payload = bytes.extracting(encoded.payload)
        var page: [UInt8] = []
        swap(&page, &self.page)
        defer { swap(&page, &self.page) }
        do {
            if isDelta {
                try file.read(range, into: &page)
                var elements = page.mutableSpan
                var target = elements.mutableBytes
                try XBZRLE.apply(payload, to: &target)
            } else {
                if reader == nil { reader = try CompressedPageReader() }
                var elements = page.mutableSpan
                var target = elements.mutableBytes
                try reader?.inflate(payload, into: &target)
            }
        } catch let error as SystemError {
            throw error
        } catch {
            throw DamagedPage(
                offset: offset, block: block.name, blockOffset: encoded.blockOffset,
                reason: "\(error)")
        }
        try file.write(page.span.bytes, at: encoded.blockOffset)
    }

    private mutating func load(_ piece: MappedRAMPiece, _ bytes: RawSpan, _ table: RAMBlockTable) throws {
        guard piece.part == .pages, let file = blocks[try index(of: piece.block, table)].file else { return }
        // Pages whose bit is not set are holes of the file and read as zeros: a page of zeros either way.
        let data = bytes.extracting(piece.bytes)
        var done = 0
        while done < data.byteCount {
            let count = min(4096 - (piece.partOffset + done) % 4096, data.byteCount - done)
            try file.write(data.extracting(done..<(done + count)), at: piece.partOffset + done)
            done += count
        }
    }

    private mutating func forget(_ discard: RAMDiscard) throws {
        guard let file = blocks.first(where: { $0.name == discard.block })?.file else { return }
        for range in discard.ranges {
            let start = min(Int(clamping: range.blockOffset), file.byteCount)
            let length = min(Int(clamping: range.byteCount), file.byteCount - start)
            try file.clear(start..<(start + length))
        }
    }
}

/// A channel that holds no memory of its own, or whose memory is in other channels.
public struct MemoryElsewhere: Error, Equatable, CustomStringConvertible {
    public let kind: ChannelKind

    public var description: String { "It is a \(kind.rawValue) channel; memory is read from a main channel." }
}
