extension StreamDecoder {
    /// Begins the block list whose total size `header` holds.
    mutating func beginBlockList(
        _ header: RAMPageHeader, recordOffset: Int
    ) throws(StreamError) -> StreamElement {
        guard state == .ram, blocks.count == 0, section.kind == .start || section.kind == .full else {
            throw .misplaced(item: "block list", offset: recordOffset)
        }
        guard header.address <= UInt64(limits.maximumBlockByteCount) else {
            throw .limitExceeded(
                field: "size of all RAM blocks", offset: recordOffset, limit: limits.maximumBlockByteCount,
                found: header.address)
        }
        let total = Int(header.address)
        unlistedByteCount = total
        state = total > 0 ? .blockList : .ram
        return .ramBlockList(totalByteCount: total)
    }

    /// Decodes one block of the list.
    @_lifetime(reader: copy reader)
    mutating func decodeBlock(_ reader: inout StreamReader) throws(StreamError) -> StreamElement {
        let remaining = unlistedByteCount
        let start = reader.offset
        let name = try reader.readName("RAM block's name")
        guard blocks.count < limits.maximumBlockCount else {
            throw .limitExceeded(
                field: "number of RAM blocks", offset: start, limit: limits.maximumBlockCount,
                found: UInt64(blocks.count + 1))
        }
        guard blocks.id(named: name) == nil else { throw .duplicateBlock(name, offset: start) }
        let sizeOffset = reader.offset
        let size = try reader.readUInt64("RAM block \(name)")
        guard size <= UInt64(remaining) else {
            throw .blockListTotalMismatch(
                offset: sizeOffset, expected: UInt64(remaining), found: size)
        }
        guard size > 0, size % UInt64(pageByteCount) == 0 else {
            throw .misalignedPage(offset: sizeOffset, pageOffset: size, pageByteCount: pageByteCount)
        }
        var block = RAMBlockDescription(name: name, usedByteCount: Int(size))
        let isLast = Int(size) == remaining
        if isPostcopyAdvised, !hasMappedRAM, try hasPageSize(reader, isLast: isLast) {
            block.hostPageByteCount = try reader.readUInt64("page size of \(name)")
        }
        if hasGuestAddresses { block.guestAddress = try reader.readUInt64("address of \(name)") }
        if hasMappedRAM { block.mapping = try decodeMapping(&reader, usedByteCount: Int(size)) }
        unlistedByteCount = remaining - Int(size)
        mappedOffset = reader.offset
        state = block.mapping?.isPresent == true ? .mapped : isLast ? .ram : .blockList
        return .ramBlock(blocks.append(block))
    }

    /// Whether a page size follows, which only the bytes tell.
    ///
    /// It is only there for blocks whose page size is not the host's. Sizes and addresses have a zero as their first
    /// byte, and names are never empty, so in the middle of the list the number of zero-led words before the next
    /// name tells; after the last block comes a RAM record, which has flags where sizes and addresses have none.
    private func hasPageSize(_ reader: borrowing StreamReader, isLast: Bool) throws(StreamError) -> Bool {
        let position = reader.position + (hasGuestAddresses ? 8 : 0)
        let byteCount = isLast ? 8 : 1
        guard position + byteCount <= reader.bytes.byteCount else {
            throw .truncated(
                part: "the block list", offset: reader.baseOffset + reader.bytes.byteCount,
                missing: position + byteCount - reader.bytes.byteCount)
        }
        guard isLast else { return reader.bytes.byte(at: position) == 0 }
        return reader.bytes.bigEndianUInt64(at: position) & 0xfff == 0
    }

    @_lifetime(reader: copy reader)
    private func decodeMapping(
        _ reader: inout StreamReader, usedByteCount: Int
    ) throws(StreamError) -> MappedRAMLayout {
        try reader.expectUInt32(1, "version of a mapped-ram header")
        try reader.expectUInt64(UInt64(pageByteCount), "page size of a mapped-ram header")
        let bitmapOffset = try reader.readUInt64("bitmap of a mapped-ram header")
        let pagesOffset = try reader.readUInt64("pages of a mapped-ram header")
        let fieldsOffset = reader.offset - 16
        let layout = MappedRAMLayout(
            pageByteCount: pageByteCount, bitmapOffset: Int(clamping: bitmapOffset),
            pagesOffset: Int(clamping: pagesOffset))
        guard layout.isPresent else { return layout }
        let here = reader.offset - options.baseOffset
        guard bitmapOffset == UInt64(here) else {
            throw .unexpectedValue(
                field: "bitmap offset of a mapped-ram header", offset: fieldsOffset, expected: UInt64(here),
                found: bitmapOffset)
        }
        let bitmapEnd = here + layout.bitmapByteCount(usedByteCount: usedByteCount)
        guard pagesOffset >= UInt64(bitmapEnd), pagesOffset <= UInt64(bitmapEnd + 1 << 30) else {
            throw .unexpectedValue(
                field: "pages offset of a mapped-ram header", offset: fieldsOffset + 8, expected: UInt64(bitmapEnd),
                found: pagesOffset)
        }
        return layout
    }

    /// Hands out as much of the region behind a mapped-ram header as is there; at least one byte is.
    @_lifetime(reader: copy reader)
    mutating func decodeMappedPiece(_ reader: inout StreamReader) -> StreamElement {
        let block = RAMBlockID(blocks.count - 1)
        let description = blocks[block]
        guard let layout = description.mapping, let usedByteCount = description.usedByteCount else {
            preconditionFailure("block \(description.name) is not mapped")
        }
        let bitmapByteCount = layout.bitmapByteCount(usedByteCount: usedByteCount)
        let pagesStart = layout.pagesOffset - layout.bitmapOffset
        let end = pagesStart + usedByteCount
        let position = reader.offset - mappedOffset
        let part: MappedRAMPiece.Part
        let partRange: Range<Int>
        if position < bitmapByteCount {
            (part, partRange) = (.bitmap, 0..<bitmapByteCount)
        } else if position < pagesStart {
            (part, partRange) = (.padding, bitmapByteCount..<pagesStart)
        } else {
            (part, partRange) = (.pages, pagesStart..<end)
        }
        let count = min(reader.remainingByteCount, partRange.upperBound - position)
        let bytes = reader.position..<(reader.position + count)
        reader.skip(count)
        if position + count == end {
            state = unlistedByteCount > 0 ? .blockList : .ram
        }
        return .mappedRAM(
            MappedRAMPiece(block: block, part: part, partOffset: position - partRange.lowerBound, bytes: bytes))
    }
}
