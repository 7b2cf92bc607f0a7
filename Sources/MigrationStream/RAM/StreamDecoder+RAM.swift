extension StreamDecoder {
    /// Decodes a RAM record, or as many page records as make a run. `section` is nil on a preempt channel.
    @_lifetime(reader: copy reader)
    mutating func decodeRAMRecord(
        _ reader: inout StreamReader, section: SectionHeader?
    ) throws(StreamError) -> StreamElement {
        let recordOffset = reader.offset
        let header = RAMPageHeader(word: try reader.readUInt64("a RAM record"))
        guard let kind = header.kind, section != nil || kind != .blockList else {
            throw .unknownRAMFlags(offset: recordOffset, found: header.flags.rawValue)
        }
        switch kind {
        case .fill, .plain:
            return try decodePageRun(&reader, header: header, isPlain: kind == .plain)
        case .xbzrle, .compressed:
            return try decodeEncodedPage(&reader, header: header, kind: kind)
        case .blockList:
            guard let section else { throw .misplaced(item: "block list", offset: recordOffset) }
            return try beginBlockList(header, section: section, recordOffset: recordOffset)
        case .endOfSection:
            try checkEmptyAddress(header, recordOffset: recordOffset)
            if let section {
                state = .footer(id: section.id, name: section.name)
            } else {
                state = .finished
            }
            return .ramEndOfSection
        case .hook:
            try checkEmptyAddress(header, recordOffset: recordOffset)
            return .rdmaHook
        case .multifdFlush:
            try checkEmptyAddress(header, recordOffset: recordOffset)
            return .multifdFlush
        }
    }

    private func checkEmptyAddress(_ header: RAMPageHeader, recordOffset: Int) throws(StreamError) {
        guard header.address == 0 else {
            throw .unexpectedValue(
                field: "address of a RAM record without a page", offset: recordOffset, expected: 0,
                found: header.address)
        }
    }

    /// Reads the block's name if there is one, and checks that `header`'s page lies inside of the block.
    ///
    /// Changes nothing: the record may turn out to be cut short. Nil for a block that a channel without a block list
    /// names for the first time; the name is then `name`.
    @_lifetime(reader: copy reader)
    private func decodeBlock(
        of header: RAMPageHeader, _ reader: inout StreamReader
    ) throws(StreamError) -> (id: RAMBlockID?, name: Range<Int>) {
        let recordOffset = reader.offset - RAMPageHeader.byteCount
        guard header.address & UInt64(pageByteCount - 1) == 0 else {
            throw .misalignedPage(
                offset: recordOffset, pageOffset: header.address, pageByteCount: pageByteCount)
        }
        var id = currentBlock
        var name = reader.position..<reader.position
        if header.continuesBlock {
            guard id != nil else { throw .noCurrentBlock(offset: recordOffset) }
        } else {
            let nameOffset = reader.offset
            let length = Int(try reader.readUInt8("a RAM block's name"))
            name = try reader.readRange(length, "a RAM block's name")
            try reader.bytes.checkName(name, field: "RAM block's name", baseOffset: reader.baseOffset)
            id = blocks.id(ofName: name, in: reader.bytes, likely: currentBlock)
            guard id != nil || learnsBlocks else {
                throw .unknownBlock(String(decoding: reader.bytes.copy(name), as: UTF8.self), offset: nameOffset)
            }
            guard id != nil || blocks.count < limits.maximumBlockCount else {
                throw .limitExceeded(
                    field: "number of RAM blocks", offset: nameOffset, limit: limits.maximumBlockCount,
                    found: UInt64(blocks.count + 1))
            }
        }
        let end = try endOfBlock(id)
        guard header.address < UInt64(end), end - Int(header.address) >= pageByteCount else {
            throw .pageOutsideBlock(
                id.map { blocks[$0].name } ?? String(decoding: reader.bytes.copy(name), as: UTF8.self),
                offset: recordOffset, pageOffset: header.address, usedByteCount: end)
        }
        return (id, name)
    }

    /// Whether page records may name blocks that no list announced.
    private var learnsBlocks: Bool { options.kind == .recovery || options.kind == .preempt }

    private func endOfBlock(_ id: RAMBlockID?) throws(StreamError) -> Int {
        guard let id, let usedByteCount = blocks[id].usedByteCount else { return limits.maximumBlockByteCount }
        return usedByteCount
    }

    /// Makes the block of a record the current one, now that the whole record is there.
    private mutating func enterBlock(_ id: RAMBlockID?, name: Range<Int>, in bytes: RawSpan) -> RAMBlockID {
        let block =
            id
            ?? blocks.append(
                RAMBlockDescription(name: String(decoding: bytes.copy(name), as: UTF8.self), usedByteCount: nil))
        currentBlock = block
        return block
    }

    @_lifetime(reader: copy reader)
    private mutating func decodePageRun(
        _ reader: inout StreamReader, header: RAMPageHeader, isPlain: Bool
    ) throws(StreamError) -> StreamElement {
        let start = reader.position - RAMPageHeader.byteCount
        let (known, name) = try decodeBlock(of: header, &reader)
        let contentStart = reader.position
        let contentByteCount = isPlain ? pageByteCount : 1
        let range = try reader.readRange(contentByteCount, "a page")
        let fill = isPlain ? 0 : reader.bytes.byte(at: range.lowerBound)
        let block = enterBlock(known, name: name, in: reader.bytes)
        let blockOffset = Int(header.address)
        let room = (try endOfBlock(block) - blockOffset) / pageByteCount
        let more = reader.bytes.countOfContinuedRecords(
            at: reader.position, word: header.word & ~0xfff | (isPlain ? 0x28 : 0x22), limit: room - 1,
            contentByteCount: contentByteCount, pageByteCount: pageByteCount, fill: isPlain ? nil : fill)
        let byteCount = more * (RAMPageHeader.byteCount + contentByteCount)
        _ = try reader.readRange(byteCount, "pages")
        return .pages(
            PageRun(
                block: block, blockOffset: blockOffset, pageCount: more + 1, pageByteCount: pageByteCount,
                content: isPlain ? .plain : .fill(fill), namesBlock: !header.continuesBlock,
                records: start..<reader.position, firstHeaderByteCount: contentStart - start))
    }

    @_lifetime(reader: copy reader)
    private mutating func decodeEncodedPage(
        _ reader: inout StreamReader, header: RAMPageHeader, kind: RAMRecordKind
    ) throws(StreamError) -> StreamElement {
        let (known, name) = try decodeBlock(of: header, &reader)
        let payload =
            kind == .xbzrle
            ? try readDelta(&reader) : try readCompressedPage(&reader)
        let block = enterBlock(known, name: name, in: reader.bytes)
        let page = EncodedPage(
            block: block, blockOffset: Int(header.address), namesBlock: !header.continuesBlock, payload: payload)
        return kind == .xbzrle ? .xbzrlePage(page) : .compressedPage(page)
    }

    @_lifetime(reader: copy reader)
    private func readDelta(_ reader: inout StreamReader) throws(StreamError) -> Range<Int> {
        try reader.expectUInt8(1, "encoding of an XBZRLE page")
        let lengthOffset = reader.offset
        let length = Int(try reader.readUInt16("length of an XBZRLE page"))
        guard length > 0, length <= pageByteCount else {
            throw .limitExceeded(
                field: "length of an XBZRLE page", offset: lengthOffset, limit: pageByteCount, found: UInt64(length))
        }
        return try reader.readRange(length, "an XBZRLE page")
    }

    @_lifetime(reader: copy reader)
    private func readCompressedPage(_ reader: inout StreamReader) throws(StreamError) -> Range<Int> {
        // zlib's bound for one page, which QEMU holds the length against as well.
        let limit = pageByteCount + pageByteCount >> 12 + pageByteCount >> 14 + 13
        let lengthOffset = reader.offset
        let length = Int(try reader.readUInt32("length of a compressed page"))
        guard length > 0, length <= limit else {
            throw .limitExceeded(
                field: "length of a compressed page", offset: lengthOffset, limit: limit, found: UInt64(length))
        }
        return try reader.readRange(length, "a compressed page")
    }
}

extension RawSpan {
    /// How many records from `position` on continue a run whose last header was `word`, at most `limit`.
    ///
    /// The hot loop of decoding: one load and one comparison for each page.
    @inline(__always)
    func countOfContinuedRecords(
        at position: Int, word: UInt64, limit: Int, contentByteCount: Int, pageByteCount: Int, fill: UInt8?
    ) -> Int {
        let stride = RAMPageHeader.byteCount + contentByteCount
        let fitting = min(limit, (byteCount - position) / stride)
        var count = 0
        var offset = position
        var expected = word
        while count < fitting {
            expected &+= UInt64(pageByteCount)
            guard bigEndianUInt64(at: offset) == expected else { break }
            if let fill, byte(at: offset + RAMPageHeader.byteCount) != fill { break }
            offset += stride
            count += 1
        }
        return count
    }
}
