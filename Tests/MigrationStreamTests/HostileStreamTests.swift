import MigrationStream
import Testing

/// Streams that are cut short or damaged give values or errors with their place. That they neither crash nor hang
/// is what running these shows; that they take no memory is what the limits' own tests show.
@Suite("Hostile streams") struct HostileStreamTests {
    @Test func `are refused when cut anywhere, with the place`() throws {
        let stream = GoldenStream.stream
        // The state may end where the description would begin.
        let end = stream.count - GoldenStream.description.count
        for count in 0..<stream.count {
            let error = streamError { _ = try decode(Array(stream[..<count])) }
            #expect((error == nil) == (count == end), "cut to \(count): \(String(describing: error))")
            #expect(error.map { $0.offset <= count } ?? true)
        }
    }

    @Test func `ask for more as long as they go on`() throws {
        let stream = GoldenStream.stream
        for count in 0..<stream.count {
            var decoder = StreamDecoder()
            let steps = try feed(Array(stream[..<count]), to: &decoder)
            guard case .needsMore(let missing) = steps else {
                Issue.record("cut to \(count): \(steps)")
                continue
            }
            #expect(missing > 0 && missing <= 4104)
        }
    }

    @Test func `give a value or an error for every changed bit`() throws {
        let stream = GoldenStream.stream
        var errors = 0
        for bit in 0..<(stream.count * 8) {
            var changed = stream
            changed[bit / 8] ^= 1 << (bit % 8)
            let error = streamError { try expectRoundTripOfMain(changed) }
            if let error {
                errors += 1
                #expect(error.offset <= stream.count && !error.description.isEmpty)
            }
        }
        // Outside of the page, nearly every bit matters.
        #expect(errors > (stream.count - 4096) * 8 / 2)
    }

    @Test func `give a value or an error for random bytes behind a sound beginning`() throws {
        for seed in 0..<2000 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            var stream = GoldenStream.headerToBlockList + GoldenStream.devicesToEnd
            for _ in 0..<4 {
                let position = Int.random(in: 0..<stream.count, using: &generator)
                let values: [UInt8] = [0x00, 0xff, 0x7f, 0x80, 0x7e, UInt8.random(in: 0...255, using: &generator)]
                stream[position] = values.randomElement(using: &generator) ?? 0
            }
            _ = streamError { try expectRoundTripOfMain(stream) }
        }
    }

    @Test func `cannot make the decoder wait for more than its limits`() throws {
        let start = GoldenStream.headerToBlockList
        let streams = [
            start + hex("08 0007 0004 ffffffff"),  // a package
            start + hex("00 06 ffffffff"),  // a description
            start + hex("02 00000002 0000000000000040 02 6d30 01 ffff"),  // an XBZRLE page
            start + hex("02 00000002 0000000000000100 02 6d30 ffffffff"),  // a compressed page
            hex("5145564d 00000003 07 ffffffff"),  // a machine's name
            hex("5145564d 00000003 07 00000001 6d 05 1a") + ascii("configuration/capabilities")
                + hex("00000001 ffffffff"),
        ]
        for stream in streams {
            var decoder = StreamDecoder()
            let error = streamError { _ = try feed(stream, to: &decoder) }
            #expect("\(String(describing: error))".contains("outside its limit"))
        }
    }

    @Test func `cannot make a device section go on for ever`() throws {
        var limits = StreamLimits()
        limits.maximumDeviceStateByteCount = 1000
        var decoder = StreamDecoder(limits: limits)
        let stream =
            GoldenStream.headerToBlockList + hex("04 00000009 03 666f6f 00000000 00000001")
            + [UInt8](repeating: 0x7e, count: 1010)
        let error = streamError { _ = try feed(stream, to: &decoder) }
        #expect(error == .unboundedSection("foo", offset: GoldenStream.headerToBlockList.count + 17, limit: 1000))
    }
}

/// The error that `body` throws.
func streamError(_ body: () throws -> Void) -> StreamError? {
    do {
        try body()
        return nil
    } catch {
        return error as? StreamError
    }
}

/// Gives all of `bytes` to `decoder` and tells its answer to the end of them.
func feed(_ bytes: [UInt8], to decoder: inout StreamDecoder) throws -> StreamStep {
    var position = 0
    while true {
        let step = try decoder.next(in: bytes.span.bytes.extracting(position..<bytes.count), ended: false)
        guard case .element(_, let byteCount) = step else { return step }
        position += byteCount
    }
}

/// Decodes `stream` and its packages; what is accepted must be written again as it was read.
func expectRoundTripOfMain(_ stream: [UInt8]) throws {
    let decoded = try decode(stream)
    #expect(decoded.differingElements == [])
    for (element, offset) in zip(decoded.elements, decoded.offsets) {
        guard case .package(let contents) = element else { continue }
        let nested = Array(stream[(offset + contents.lowerBound)..<(offset + contents.upperBound)])
        let inside = try decode(nested, decoder: decoded.decoder.packageDecoder(offset: offset + contents.lowerBound))
        #expect(inside.differingElements == [])
    }
}
