import MigrationStream
import Testing

@Suite("A stream written by hand") struct GoldenStreamTests {
    @Test func `begins with header, configuration, commands and block list`() throws {
        var decoder = StreamDecoder()
        var elements: [StreamElement] = []
        let bytes = GoldenStream.headerToBlockList
        var position = 0
        while position < bytes.count {
            let step = try decoder.next(in: bytes.span.bytes.extracting(position..<bytes.count), ended: false)
            guard case .element(let element, let byteCount) = step else { break }
            elements.append(element)
            position += byteCount
        }
        #expect(position == bytes.count)
        #expect(
            elements == [
                .header, .configuration(machine: "microvm"),
                .configurationSubsection(.capabilities(["x-ignore-shared"])),
                .configurationSubsection(.uuid(MachineUUID(high: 0x0011_2233_4455_6677, low: 0x8899_aabb_ccdd_eeff))),
                .command(.openReturnPath), .command(.ping(1)),
                .command(.postcopyAdvise(PostcopyAdvice(pageSizeSummary: 4096, targetPageByteCount: 4096))),
                .section(SectionHeader(kind: .start, id: 2, name: "ram", instance: 0, version: 4)),
                .ramBlockList(totalByteCount: 0x6000), .ramBlock(RAMBlockID(0)), .ramBlock(RAMBlockID(1)),
                .multifdFlush, .ramEndOfSection, .footer(sectionID: 2),
            ])
        #expect(
            decoder.blocks
                == RAMBlockTable([
                    RAMBlockDescription(name: "m0", usedByteCount: 0x4000, guestAddress: 0),
                    RAMBlockDescription(name: "m1", usedByteCount: 0x2000, guestAddress: 0xffff_0000),
                ]))
    }

    @Test func `goes on with pages of every kind`() throws {
        let decoded = try decode(GoldenStream.stream)
        let start = decoded.elements.firstIndex(of: .footer(sectionID: 2)).map { $0 + 1 } ?? 0
        let m0 = RAMBlockID(0)
        let m1 = RAMBlockID(1)
        #expect(
            Array(decoded.elements[start..<(start + 11)]) == [
                .section(SectionHeader(kind: .part, id: 2, name: "ram", instance: 0, version: 4)),
                .pages(
                    PageRun(
                        block: m0, blockOffset: 0, pageCount: 2, pageByteCount: 4096, content: .fill(0),
                        namesBlock: true, records: 0..<21, firstHeaderByteCount: 11)),
                .pages(
                    PageRun(
                        block: m0, blockOffset: 0x2000, pageCount: 1, pageByteCount: 4096, content: .plain,
                        namesBlock: false, records: 0..<4104, firstHeaderByteCount: 8)),
                .xbzrlePage(EncodedPage(block: m1, blockOffset: 0, namesBlock: true, payload: 14..<20)),
                .compressedPage(EncodedPage(block: m1, blockOffset: 0x1000, namesBlock: false, payload: 12..<15)),
                .ramEndOfSection, .footer(sectionID: 2), .command(.switchoverStart),
                .section(SectionHeader(kind: .end, id: 2, name: "ram", instance: 0, version: 4)),
                .ramEndOfSection, .footer(sectionID: 2),
            ])
    }

    @Test func `ends with devices, a package, commands and the description`() throws {
        let decoded = try decode(GoldenStream.stream)
        let timer = SectionHeader(kind: .full, id: 0, name: "timer", instance: 0, version: 2)
        #expect(
            Array(decoded.elements.suffix(9)) == [
                .section(timer),
                .deviceState(DevicePayload(section: timer, bytes: 0..<24, delimitation: .layout)),
                .footer(sectionID: 0), .package(contents: 9..<23),
                .command(
                    .postcopyDiscard(
                        RAMDiscard(block: "mem-0", ranges: [RAMDiscard.Range(blockOffset: 0x1000, byteCount: 0x2000)]))
                ),
                .command(.receivedBitmap(block: "m0")), .command(.postcopyResume), .endOfStream,
                .description(json: 5..<GoldenStream.description.count),
            ])
        #expect(decoded.differingElements == [])
    }

    @Test func `is the same in pieces of every size`() throws {
        let whole = try decode(GoldenStream.stream).elements.map(summary).joinedRuns()
        for chunk in 1...64 {
            let cut = try decode(GoldenStream.stream, chunk: chunk)
            #expect(cut.elements.map(summary).joinedRuns() == whole)
            #expect(cut.differingElements == [])
        }
    }
}
