extension StreamDecoder {
    /// Decodes a RAM record, or as many page records as make a run.
    @_lifetime(reader: copy reader)
    mutating func decodeRAMRecord(_ reader: inout StreamReader) throws(StreamError) -> StreamElement {
        let recordOffset = reader.offset
        let header = RAMPageHeader(word: try reader.readUInt64("a RAM record"))
        guard let kind = header.kind, state == .ram || kind != .blockList else {
            throw .unknownRAMFlags(offset: recordOffset, found: header.flags.rawValue)
        }
        switch kind {
        case .fill, .plain:
            return try decodePageRun(&reader, header: header, isPlain: kind == .plain)
        case .xbzrle, .compressed:
            return try decodeEncodedPage(&reader, header: header, kind: kind)
        case .blockList:
            return try beginBlockList(header, recordOffset: recordOffset)
        case .endOfSection:
            try checkEmptyAddress(header, recordOffset: recordOffset)
            state = state == .ram ? .footer : .finished
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
    /// Changes nothing: the record may turn out to be cut short.
    @_lifetime(reader: copy reader)
    private func decodeBlock(
        of header: RAMPageHeader, _ reader: inout StreamReader
    ) throws(StreamError) -> NamedBlock {
        let recordOffset = reader.offset - RAMPageHeader.byteCount
        guard header.address & UInt64(pageByteCount - 1) == 0 else {
            throw .misalignedPage(
                offset: recordOffset, pageOffset: header.address, pageByteCount: pageByteCount)
        }
        let block: NamedBlock
        if header.continuesBlock {
            guard let currentBlock else { throw .noCurrentBlock(offset: recordOffset) }
            block = NamedBlock(id: currentBlock, name: 0..<0, byteCount: currentBlockByteCount)
        } else {
            block = try decodeName(&reader)
        }
        guard header.address < UInt64(block.byteCount), block.byteCount - Int(header.address) >= pageByteCount else {
            throw .pageOutsideBlock(
                block.id.map { blocks[$0].name } ?? String(decoding: reader.bytes.copy(block.name), as: UTF8.self),
                offset: recordOffset, pageOffset: header.address, usedByteCount: block.byteCount)
        }
        return block
    }

    /// The block that a record is for.
    private struct NamedBlock {
        /// Nil for a block that a channel without a block list names for the first time.
        var id: RAMBlockID?
        /// The bytes of its name, if the record has one.
        var name: Range<Int>
        /// The bytes that the block can have.
        var byteCount: Int
    }

    @_lifetime(reader: copy reader)
    private func decodeName(_ reader: inout StreamReader) throws(StreamError) -> NamedBlock {
        let nameOffset = reader.offset
        let length = Int(try reader.readUInt8("a RAM block's name"))
        let name = try reader.readRange(length, "a RAM block's name")
        if let id = blocks.id(ofName: name, in: reader.bytes, likely: currentBlock) {
            let byteCount = blocks[id].usedByteCount ?? limits.maximumBlockByteCount
            return NamedBlock(id: id, name: name, byteCount: byteCount)
        }
        try reader.bytes.checkName(name, field: "RAM block's name", baseOffset: reader.baseOffset)
        guard learnsBlocks else {
            throw .unknownBlock(String(decoding: reader.bytes.copy(name), as: UTF8.self), offset: nameOffset)
        }
        guard blocks.count < limits.maximumBlockCount else {
            throw .limitExceeded(
                field: "number of RAM blocks", offset: nameOffset, limit: limits.maximumBlockCount,
                found: UInt64(blocks.count + 1))
        }
        return NamedBlock(id: nil, name: name, byteCount: limits.maximumBlockByteCount)
    }

    /// Whether page records may name blocks that no list announced.
    private var learnsBlocks: Bool { options.kind == .recovery || options.kind == .preempt }

    /// Makes the block of a record the current one, now that the whole record is there.
    @inline(__always)
    private mutating func enter(_ block: NamedBlock, in bytes: RawSpan) -> RAMBlockID {
        if let id = block.id {
            currentBlock = id
            currentBlockByteCount = block.byteCount
            return id
        }
        let name = String(decoding: bytes.copy(block.name), as: UTF8.self)
        let id = blocks.append(RAMBlockDescription(name: name, usedByteCount: nil))
        currentBlock = id
        currentBlockByteCount = block.byteCount
        return id
    }

    @_lifetime(reader: copy reader)
    private mutating func decodePageRun(
        _ reader: inout StreamReader, header: RAMPageHeader, isPlain: Bool
    ) throws(StreamError) -> StreamElement {
        let start = reader.position - RAMPageHeader.byteCount
        let named = try decodeBlock(of: header, &reader)
        let contentStart = reader.position
        let contentByteCount = isPlain ? pageByteCount : 1
        let range = try reader.readRange(contentByteCount, "a page")
        let fill = isPlain ? 0 : reader.bytes.byte(at: range.lowerBound)
        let block = enter(named, in: reader.bytes)
        let blockOffset = Int(header.address)
        let room = (named.byteCount - blockOffset) / pageByteCount
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
        let named = try decodeBlock(of: header, &reader)
        let payload =
            kind == .xbzrle
            ? try readDelta(&reader) : try readCompressedPage(&reader)
        let block = enter(named, in: reader.bytes)
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
