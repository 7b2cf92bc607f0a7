extension StreamEncoder {
    /// Writes `element` as it was read.
    ///
    /// `blocks` are the decoder's, and `source` is the span that `element` was decoded from. Writes exactly as many
    /// bytes as the element took.
    @_lifetime(writer: copy writer)
    public static func write(
        _ element: StreamElement, blocks: borrowing RAMBlockTable, source: RawSpan, into writer: inout StreamWriter
    ) {
        switch element {
        case .pages(let run):
            write(run, blocks: blocks, source: source, into: &writer)
        case .xbzrlePage(let page):
            writeHeader(of: page, flags: .xbzrle, blocks: blocks, into: &writer)
            writeDeltaHeader(byteCount: page.payload.count, into: &writer)
            writer.write(source.part(page.payload))
        case .compressedPage(let page):
            writeHeader(of: page, flags: .compressedPage, blocks: blocks, into: &writer)
            writer.write(UInt32(page.payload.count))
            writer.write(source.part(page.payload))
        case .header:
            writeHeader(into: &writer)
        case .configuration(let machine):
            writeConfiguration(machine: machine, into: &writer)
        case .configurationSubsection(let subsection):
            subsection.write(into: &writer)
        case .section(let section):
            section.write(into: &writer)
        case .ramBlockList(let total):
            writeRecord(.memorySize, totalByteCount: total, into: &writer)
        case .ramBlock(let id):
            blocks[id].write(into: &writer)
        case .mappedRAM(let piece):
            writer.write(source.part(piece.bytes))
        case .ramEndOfSection:
            writeRecord(.endOfSection, into: &writer)
        case .multifdFlush:
            writeRecord(.multifdFlush, into: &writer)
        case .rdmaHook:
            writeRecord(.hook, into: &writer)
        case .deviceState(let payload):
            writer.write(source.part(payload.bytes))
        case .footer(let id):
            writeFooter(sectionID: id, into: &writer)
        case .command(let command):
            command.write(into: &writer)
        case .package(let contents):
            StreamCommand.package(byteCount: contents.count).write(into: &writer)
            writer.write(source.part(contents))
        case .endOfStream:
            writeEndOfStream(into: &writer)
        case .description(let json):
            writeDescriptionHeader(byteCount: json.count, into: &writer)
            writer.write(source.part(json))
        }
    }

    /// The bytes that `write` writes for `element`.
    public static func byteCount(of element: StreamElement, blocks: borrowing RAMBlockTable) -> Int {
        switch element {
        case .pages(let run): run.records.count
        case .xbzrlePage(let page): headerByteCount(of: page, blocks: blocks) + 3 + page.payload.count
        case .compressedPage(let page): headerByteCount(of: page, blocks: blocks) + 4 + page.payload.count
        case .header: 8
        case .configuration(let machine): 5 + machine.utf8.count
        case .configurationSubsection(let subsection): subsection.byteCount
        case .section(let section): section.byteCount
        case .ramBlock(let id): blocks[id].byteCount
        case .mappedRAM(let piece): piece.bytes.count
        case .ramBlockList, .ramEndOfSection, .multifdFlush, .rdmaHook: RAMPageHeader.byteCount
        case .deviceState(let payload): payload.bytes.count
        case .footer: 5
        case .command(let command): command.byteCount
        case .package(let contents): 9 + contents.count
        case .endOfStream: 1
        case .description(let json): 5 + json.count
        }
    }

    /// Writes only the header of page `index` of `run`, without its bytes.
    ///
    /// For writing pages straight from where they lie: the bytes of page `index` follow it.
    @inline(__always)
    @_lifetime(writer: copy writer)
    public static func writeHeader(
        ofPage index: Int, of run: PageRun, blocks: borrowing RAMBlockTable, into writer: inout StreamWriter
    ) {
        let kind: RAMRecordFlags = run.content == .plain ? .page : .zero
        let blockOffset = run.blockOffset + index * run.pageByteCount
        let names = index == 0 && run.namesBlock
        let flags = names ? kind : kind.union(.continuesBlock)
        writer.write(RAMPageHeader(blockOffset: blockOffset, flags: flags).word)
        if names { blocks.writeName(of: run.block, into: &writer) }
    }

    @_lifetime(writer: copy writer)
    private static func write(
        _ run: PageRun, blocks: borrowing RAMBlockTable, source: RawSpan, into writer: inout StreamWriter
    ) {
        for index in 0..<run.pageCount {
            writeHeader(ofPage: index, of: run, blocks: blocks, into: &writer)
            switch run.content {
            case .plain: writer.write(source.part(run.pageBytes(index)))
            case .fill(let byte): writer.write(byte)
            }
        }
    }

    @_lifetime(writer: copy writer)
    private static func writeHeader(
        of page: EncodedPage, flags: RAMRecordFlags, blocks: borrowing RAMBlockTable, into writer: inout StreamWriter
    ) {
        let all = page.namesBlock ? flags : flags.union(.continuesBlock)
        writer.write(RAMPageHeader(blockOffset: page.blockOffset, flags: all).word)
        if page.namesBlock { blocks.writeName(of: page.block, into: &writer) }
    }

    private static func headerByteCount(of page: EncodedPage, blocks: borrowing RAMBlockTable) -> Int {
        RAMPageHeader.byteCount + (page.namesBlock ? 1 + blocks.nameByteCount(of: page.block) : 0)
    }
}
