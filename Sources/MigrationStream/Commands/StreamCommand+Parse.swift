extension StreamCommand {
    /// Reads a command from its number on, behind the byte 0x08.
    ///
    /// - Throws: `StreamError` when the number is unknown, or the length or payload do not belong to it.
    @_lifetime(reader: copy reader)
    static func parse(_ reader: inout StreamReader) throws(StreamError) -> StreamCommand {
        let numberOffset = reader.offset
        let number = try reader.readUInt16("a command's number")
        guard (1...11).contains(number) || PeerGreeting.commands.contains(number) else {
            throw .unknownCommand(offset: numberOffset, found: number)
        }
        let lengthOffset = reader.offset
        let length = Int(try reader.readUInt16("a command's length"))
        if let expected = fixedLength(number), length != expected, !(number == 3 && length == 0) {
            throw .unexpectedValue(
                field: "length of command \(number)", offset: lengthOffset, expected: UInt64(expected),
                found: UInt64(length))
        }
        try reader.require(length, "command \(number)")
        switch number {
        case 1: return .openReturnPath
        case 2: return .ping(try reader.readUInt32("ping"))
        case 3: return .postcopyAdvise(length == 0 ? nil : try parseAdvice(&reader))
        case 4: return .postcopyListen
        case 5: return .postcopyRun
        case 6: return .postcopyDiscard(try parseDiscard(&reader, byteCount: length))
        case 7: return .package(byteCount: Int(try reader.readUInt32("package size")))
        case 8: return .enableCOLO
        case 9: return .postcopyResume
        case 10: return .receivedBitmap(block: try parseBlock(&reader, byteCount: length))
        case 11: return .switchoverStart
        case PeerGreeting.memoryCommand: return .localMemory(try LocalMemory.parse(&reader, byteCount: length))
        default: return .machineDescription(try MachineDescription.parse(&reader, byteCount: length))
        }
    }

    /// The only length that command `number` may have, nil if it varies.
    static func fixedLength(_ number: UInt16) -> Int? {
        switch number {
        case 1, 4, 5, 8, 9, 11: 0
        case 2, 7: 4
        case 3: 16
        default: nil
        }
    }

    @_lifetime(reader: copy reader)
    private static func parseAdvice(_ reader: inout StreamReader) throws(StreamError) -> PostcopyAdvice {
        let summary = try reader.readUInt64("page sizes")
        let target = try reader.readUInt64("page size")
        return PostcopyAdvice(pageSizeSummary: summary, targetPageByteCount: target)
    }

    @_lifetime(reader: copy reader)
    private static func parseDiscard(
        _ reader: inout StreamReader, byteCount: Int
    ) throws(StreamError) -> RAMDiscard {
        let start = reader.offset
        // Version, a name of one letter at least, its end, one range.
        guard byteCount >= 1 + 2 + 1 + 16 else {
            throw .limitExceeded(field: "length of a discard", offset: start - 2, limit: 20, found: UInt64(byteCount))
        }
        try reader.expectUInt8(0, "version of a discard")
        let nameOffset = reader.offset
        let block = try reader.readName("block of a discard")
        try reader.expectUInt8(0, "end of the block's name in a discard")
        let rest = byteCount - (reader.offset - start)
        guard rest > 0, rest % 16 == 0 else {
            throw .unexpectedValue(
                field: "length of the block's name in a discard", offset: nameOffset,
                expected: UInt64((byteCount - 3) % 16), found: UInt64(block.utf8.count))
        }
        var ranges: [RAMDiscard.Range] = []
        ranges.reserveCapacity(rest / 16)
        for _ in 0..<(rest / 16) {
            let blockOffset = try reader.readUInt64("start of a discard")
            let count = try reader.readUInt64("length of a discard")
            ranges.append(RAMDiscard.Range(blockOffset: blockOffset, byteCount: count))
        }
        return RAMDiscard(block: block, ranges: ranges)
    }

    @_lifetime(reader: copy reader)
    private static func parseBlock(_ reader: inout StreamReader, byteCount: Int) throws(StreamError) -> String {
        let start = reader.offset
        let block = try reader.readName("block of a received bitmap")
        guard reader.offset - start == byteCount else {
            throw .unexpectedValue(
                field: "length of the block's name", offset: start, expected: UInt64(byteCount) &- 1,
                found: UInt64(block.utf8.count))
        }
        return block
    }
}
