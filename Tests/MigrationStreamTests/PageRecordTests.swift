import MigrationStream
import Testing

@Suite("Page records") struct PageRecordTests {
    /// Header, block list of "m0" with 0x4000 bytes and "m1" with 0x2000, and the beginning of a part.
    static let beginning =
        hex("5145564d 00000003 01 00000002 03 72616d 00000000 00000004")
        + hex("0000000000006004 02 6d30 0000000000004000 02 6d31 0000000000002000 0000000000000010 7e 00000002")
        + hex("02 00000002")

    static func run(behind bytes: [UInt8]) throws -> StreamStep {
        var decoder = StreamDecoder()
        var position = 0
        while position < beginning.count {
            let step = try decoder.next(
                in: beginning.span.bytes.extracting(position..<beginning.count), ended: false)
            guard case .element(_, let byteCount) = step else { return step }
            position += byteCount
        }
        return try decoder.next(in: bytes.span.bytes, ended: false)
    }

    static func error(of bytes: [UInt8]) -> StreamError? { streamError { _ = try run(behind: bytes) } }

    static let page = [UInt8](repeating: 0x11, count: 4096)

    @Test func `of consecutive pages make one run`() throws {
        let records =
            hex("0000000000000008 02 6d30") + Self.page + hex("0000000000001028") + Self.page
            + hex("0000000000002028") + Self.page
        #expect(
            try Self.run(behind: records)
                == .element(
                    .pages(
                        PageRun(
                            block: RAMBlockID(0), blockOffset: 0, pageCount: 3, pageByteCount: 4096, content: .plain,
                            namesBlock: true, records: 0..<12315, firstHeaderByteCount: 11)), byteCount: 12315))
    }

    @Test func `tell where each page of a run lies`() throws {
        let run = PageRun(
            block: RAMBlockID(0), blockOffset: 0, pageCount: 3, pageByteCount: 4096, content: .plain,
            namesBlock: true, records: 100..<12415, firstHeaderByteCount: 11)
        #expect(run.pageBytes(0) == 111..<4207)
        #expect(run.pageBytes(2) == 8319..<12415)
        #expect(run.endOffset == 12288)
    }

    @Test(arguments: [
        ("0000000000001022 00", 1),  // the next page
        ("0000000000002022 00", 0),  // a gap
        ("0000000000000022 00", 0),  // the same page again
        ("0000000000001022 01", 0),  // another byte
        ("0000000000001002 02 6d30 00", 0),  // names the block
        ("0000000000001028 00", 0),  // a plain page
    ])
    func `make a run only if each continues the one before`(record: String, more: Int) throws {
        let step = try Self.run(behind: hex("0000000000000002 02 6d30 00") + hex(record) + hex("00"))
        let count = 12 + 9 * more
        #expect(
            step
                == .element(
                    .pages(
                        PageRun(
                            block: RAMBlockID(0), blockOffset: 0, pageCount: 1 + more, pageByteCount: 4096,
                            content: .fill(0), namesBlock: true, records: 0..<count, firstHeaderByteCount: 11)),
                    byteCount: count))
    }

    @Test func `end their run where the block ends`() throws {
        let records = hex("0000000000001002 02 6d31 00 0000000000002022 00")
        let decoded = try Self.run(behind: records)
        guard case .element(.pages(let run), let byteCount) = decoded else {
            Issue.record("\(decoded)")
            return
        }
        #expect(run.pageCount == 1)
        #expect(byteCount == 12)
    }

    @Test func `are refused outside of their block`() throws {
        #expect(
            Self.error(of: hex("0000000000004002 02 6d30 00"))
                == .pageOutsideBlock(
                    "m0", offset: Self.beginning.count, pageOffset: 0x4000, usedByteCount: 0x4000))
    }

    @Test func `are refused with an address beyond all memory`() throws {
        #expect(
            Self.error(of: hex("fffffffffffff008 02 6d30"))
                == .pageOutsideBlock(
                    "m0", offset: Self.beginning.count, pageOffset: 0xffff_ffff_ffff_f000, usedByteCount: 0x4000))
    }

    @Test func `are refused for a block that is not listed`() throws {
        #expect(
            Self.error(of: hex("0000000000000008 02 6d39"))
                == .unknownBlock("m9", offset: Self.beginning.count + 8))
    }

    @Test func `are refused when they continue no block`() throws {
        #expect(Self.error(of: hex("0000000000000028")) == .noCurrentBlock(offset: Self.beginning.count))
    }

    @Test(arguments: [0x001, 0x003, 0x00a, 0x014, 0x030, 0x0c0, 0x400, 0x800, 0xfff, 0x000, 0x020, 0x220])
    func `are refused with flags that make no sense`(flags: Int) throws {
        let record = hex("00000000000000") + [0] + []
        let word = Array(record.dropLast(2)) + [UInt8(flags >> 8), UInt8(flags & 0xff)]
        #expect(
            Self.error(of: word) == .unknownRAMFlags(offset: Self.beginning.count, found: UInt64(flags)))
    }

    @Test func `keep the block over the parts of the section`() throws {
        let stream =
            Self.beginning + hex("0000000000001002 02 6d31 00 0000000000000010 7e 00000002")
            + hex("02 00000002 0000000000000022 00 0000000000000010 7e 00000002 00")
        let decoded = try decode(stream)
        let runs = decoded.elements.compactMap { if case .pages(let run) = $0 { run } else { nil } }
        #expect(runs.map(\.block) == [RAMBlockID(1), RAMBlockID(1)])
        #expect(runs.map(\.namesBlock) == [true, false])
    }

    @Test func `are found again after random choices of kinds, blocks and offsets`() throws {
        for seed in 0..<50 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let written = RandomRecords(using: &generator)
            let decoded = try decode(written.stream, chunk: Int.random(in: 1...20000, using: &generator))
            #expect(decoded.differingElements == [])
            #expect(pages(of: decoded) == written.pages, "seed \(seed)")
        }
    }
}

/// A page of a stream: its block, its offset, and whether it is plain.
struct PagePlace: Equatable {
    var block: Int
    var offset: Int
    var isPlain: Bool
}

func pages(of decoded: Decoded) -> [PagePlace] {
    decoded.elements.flatMap { element -> [PagePlace] in
        guard case .pages(let run) = element else { return [] }
        return (0..<run.pageCount).map {
            PagePlace(
                block: run.block.index, offset: run.blockOffset + $0 * 4096, isPlain: run.content == .plain)
        }
    }
}

/// A stream of pages as a source would write it, with an encoder that names blocks when it must.
struct RandomRecords {
    var stream: [UInt8]
    var pages: [PagePlace] = []

    init(using generator: inout SeededGenerator) {
        let blocks = RAMBlockTable([
            RAMBlockDescription(name: "m0", usedByteCount: 0x4000),
            RAMBlockDescription(name: "m1", usedByteCount: 0x2000),
        ])
        stream = PageRecordTests.beginning
        var encoder = StreamEncoder()
        for _ in 0..<40 {
            let block = Int.random(in: 0...1, using: &generator)
            let place = PagePlace(
                block: block, offset: Int.random(in: 0..<(block == 0 ? 4 : 2), using: &generator) * 4096,
                isPlain: Bool.random(using: &generator))
            pages.append(place)
            let names = encoder.currentBlock != RAMBlockID(block)
            stream += write(byteCount: names ? 11 : 8) { writer in
                encoder.writePageHeader(
                    place.isPlain ? .plain : .fill, block: RAMBlockID(block), blockOffset: place.offset,
                    blocks: blocks, into: &writer)
            }
            stream += place.isPlain ? PageRecordTests.page : [0]
        }
        stream += hex("0000000000000010 7e 00000002 00")
    }
}
