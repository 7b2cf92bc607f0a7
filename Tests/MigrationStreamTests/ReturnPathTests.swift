import MigrationStream
import Testing

@Suite("Return path") struct ReturnPathTests {
    static let stream = hex(
        """
        0002 0004 00000001                                    // pong 1
        0003 0014 000000000000e000 00001000 07 70632e62696f73 // pages of "pc.bios"
        0004 000c 000000000000f000 00001000                   // more of them
        0005 0003 02 6d30 0000000000000008 0100000000000080 0123456789abcdef // bitmap of "m0"
        0006 0004 00000001                                    // resumed
        0007 0000                                             // switchover
        0001 0004 00000000                                    // shut
        """)

    static let messages: [ReturnPathMessage] = [
        .pong(1), .pageRequest(PageRequest(block: "pc.bios", blockOffset: 0xe000, byteCount: 4096)),
        .pageRequest(PageRequest(block: nil, blockOffset: 0xf000, byteCount: 4096)),
        .receivedBitmap(block: "m0", bitmap: 15..<23), .resumeAcknowledged(1), .switchoverAcknowledged, .shut(0),
    ]

    static func decode(_ stream: [UInt8]) throws -> [ReturnPathMessage] {
        var decoder = ReturnPathDecoder()
        var messages: [ReturnPathMessage] = []
        var position = 0
        while true {
            let unread = stream.span.bytes.extracting(position..<stream.count)
            switch try decoder.next(in: unread, ended: true) {
            case .message(let message, let byteCount):
                let written = write(byteCount: message.byteCount) { message.write(source: unread, into: &$0) }
                let isSame = unread.extracting(0..<byteCount).equals(written)
                #expect(isSame)
                messages.append(message)
                position += byteCount
            case .needsMore: return messages
            case .finished: return messages
            }
        }
    }

    @Test func `holds messages`() throws { #expect(try Self.decode(Self.stream) == Self.messages) }

    @Test(arguments: [1, 2, 3, 7, 64]) func `is the same in pieces`(chunk: Int) throws {
        try expectReturnPathRoundTrip(Self.stream, chunk: chunk)
    }

    @Test func `is refused when cut inside a message`() throws {
        var ends = [0]
        for message in Self.messages { ends.append((ends.last ?? 0) + message.byteCount) }
        for count in 0..<Self.stream.count {
            let error = streamError { _ = try Self.decode(Array(Self.stream[..<count])) }
            #expect((error == nil) == ends.contains(count))
        }
    }

    @Test func `gives messages or an error for every changed bit`() throws {
        for bit in 0..<(Self.stream.count * 8) {
            var changed = Self.stream
            changed[bit / 8] ^= 1 << (bit % 8)
            _ = streamError { _ = try Self.decode(changed) }
        }
    }

    @Test(arguments: [
        ("0000 0000", StreamError.unknownMessage(offset: 0, found: 0)),
        ("0008 0000", .unknownMessage(offset: 0, found: 8)),
        ("0001 0005", .unexpectedValue(field: "length of message 1", offset: 2, expected: 4, found: 5)),
        ("0003 0201", .limitExceeded(field: "length of message 3", offset: 2, limit: 512, found: 513)),
        (
            "0005 0003 02 6d30 7fffffffffffffff",
            .limitExceeded(
                field: "size of the bitmap of m0", offset: 7, limit: 64 << 20, found: 0x7fff_ffff_ffff_ffff)
        ),
        (
            "0005 0003 02 6d30 0000000000000000 0123456789abcdee",
            .unexpectedValue(
                field: "end mark of the bitmap of m0", offset: 15, expected: 0x0123_4567_89ab_cdef,
                found: 0x0123_4567_89ab_cdee)
        ),
        (
            "0003 0010 0000000000000000 00001000 02 6d30 00",
            .unexpectedValue(field: "length of a block's name", offset: 16, expected: 3, found: 2)
        ),
    ])
    func `is refused`(message: String, error: StreamError) throws {
        #expect(streamError { _ = try Self.decode(hex(message)) } == error)
    }
}
