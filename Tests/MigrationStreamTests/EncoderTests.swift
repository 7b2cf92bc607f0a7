import MigrationStream
import Testing

@Suite("Writing a stream") struct EncoderTests {
    static let blocks = RAMBlockTable([
        RAMBlockDescription(name: "m0", usedByteCount: 0x4000, guestAddress: 0),
        RAMBlockDescription(name: "m1", usedByteCount: 0x2000, guestAddress: 0xffff_0000),
    ])

    @Test func `gives the bytes that are written by hand`() {
        let ram = SectionHeader(kind: .start, id: 2, name: "ram", instance: 0, version: 4)
        let written = write(byteCount: GoldenStream.headerToBlockList.count) { writer in
            StreamEncoder.writeHeader(into: &writer)
            StreamEncoder.writeConfiguration(
                machine: "microvm",
                subsections: [
                    .capabilities(["x-ignore-shared"]),
                    .uuid(MachineUUID(high: 0x0011_2233_4455_6677, low: 0x8899_aabb_ccdd_eeff)),
                ], into: &writer)
            StreamCommand.openReturnPath.write(into: &writer)
            StreamCommand.ping(1).write(into: &writer)
            StreamCommand.postcopyAdvise(PostcopyAdvice(pageSizeSummary: 4096, targetPageByteCount: 4096))
                .write(into: &writer)
            ram.write(into: &writer)
            StreamEncoder.writeBlockList(Self.blocks, into: &writer)
            StreamEncoder.writeRecord(.multifdFlush, into: &writer)
            StreamEncoder.writeRecord(.endOfSection, into: &writer)
            StreamEncoder.writeFooter(sectionID: 2, into: &writer)
        }
        #expect(written == GoldenStream.headerToBlockList)
        #expect(StreamEncoder.blockListByteCount(Self.blocks) == 46)
    }

    @Test func `names a block only when it changes`() {
        var encoder = StreamEncoder()
        let written = write(byteCount: 8 + 3 + 8 + 8 + 3 + 8) { writer in
            for (block, offset) in [(0, 0), (0, 0x1000), (1, 0), (1, 0x1000)] {
                encoder.writePageHeader(
                    .plain, block: RAMBlockID(block), blockOffset: offset, blocks: Self.blocks, into: &writer)
            }
        }
        #expect(
            written
                == hex(
                    """
                    0000000000000008 02 6d30
                    0000000000001028
                    0000000000000008 02 6d31
                    0000000000001028
                    """))
    }

    @Test(arguments: [
        (RAMRecordKind.plain, "0000000000003008"), (.fill, "0000000000003002"), (.xbzrle, "0000000000003040"),
        (.compressed, "0000000000003100"),
    ])
    func `marks each kind of page`(kind: RAMRecordKind, word: String) {
        var encoder = StreamEncoder()
        let written = write(byteCount: 11) { writer in
            encoder.writePageHeader(
                kind, block: RAMBlockID(0), blockOffset: 0x3000, blocks: Self.blocks, into: &writer)
        }
        #expect(written == hex(word + "02 6d30"))
        #expect(RAMPageHeader(word: written.span.bytes.bigEndianWord).kind == kind)
    }

    @Test func `puts a page's header where the run had it`() {
        let run = PageRun(
            block: RAMBlockID(1), blockOffset: 0x1000, pageCount: 2, pageByteCount: 4096, content: .plain,
            namesBlock: true, records: 0..<8211, firstHeaderByteCount: 11)
        let headers = write(byteCount: 11 + 8) { writer in
            StreamEncoder.writeHeader(ofPage: 0, of: run, blocks: Self.blocks, into: &writer)
            StreamEncoder.writeHeader(ofPage: 1, of: run, blocks: Self.blocks, into: &writer)
        }
        #expect(headers == hex("0000000000001008 02 6d31 0000000000002028"))
    }

    @Test func `marks an update and the description`() {
        let written = write(byteCount: 8) { writer in
            StreamEncoder.writeDeltaHeader(byteCount: 0x123, into: &writer)
            StreamEncoder.writeDescriptionHeader(byteCount: 0x456, into: &writer)
        }
        #expect(written == hex("01 0123 06 00000456"))
    }
}

extension RawSpan {
    fileprivate var bigEndianWord: UInt64 {
        withUnsafeBytes { UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)) }
    }
}
