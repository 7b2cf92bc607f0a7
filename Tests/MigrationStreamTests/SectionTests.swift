import MigrationStream
import Testing

@Suite("Sections") struct SectionTests {
    static let header = hex("5145564d 00000003")
    static let configuration = hex("07 00000007 6d6963726f766d")

    static func device(_ payload: [UInt8], name: String = "unheard-of", id: UInt8 = 7) -> [UInt8] {
        hex("04 000000") + [id] + [UInt8(name.utf8.count)] + ascii(name) + hex("00000000 00000001") + payload
            + hex("7e 000000") + [id]
    }

    static func states(_ stream: [UInt8]) throws -> [[UInt8]] {
        let decoded = try decode(stream)
        return zip(decoded.elements, decoded.offsets).compactMap { element, offset in
            guard case .deviceState(let payload) = element else { return nil }
            return stream.span.bytes.array((offset + payload.bytes.lowerBound)..<(offset + payload.bytes.upperBound))
        }
    }

    @Test(arguments: [
        [],
        [1, 2, 3],
        hex("7e 00000007"),  // a footer inside of the state
        hex("7e 00000007 05"),
        hex("01 7e 00000007 04 00000008 02 0102"),  // and something like a section behind it
        hex("7e7e7e7e7e7e"),
    ])
    func `of unknown devices end at their footer`(payload: [UInt8]) throws {
        let stream = Self.header + Self.configuration + Self.device(payload) + Self.device([9, 9], id: 8) + [0]
        #expect(try Self.states(stream) == [payload, [9, 9]])
    }

    @Test func `of unknown devices end before a command, a part or the end`() throws {
        let ram = hex("01 00000002 03 72616d 00000000 00000004 0000000000000010 7e 00000002")
        let stream =
            Self.header + ram + Self.device([1]) + hex("08 0002 0004 00000009") + Self.device([2])
            + hex("03 00000002 0000000000000010 7e 00000002") + Self.device([3]) + [0]
            + GoldenStream.describing("")
        #expect(try Self.states(stream) == [[1], [2], [3]])
    }

    @Test func `have the size that the description gives them`() throws {
        let described =
            #"{"name":"unheard-of","instance_id":0,"vmsd_name":"u","version":1,"#
            + #""fields":[{"name":"a","type":"uint16","array_len":2,"size":2}],"#
            + #""subsections":[{"vmsd_name":"u/b","version":1,"fields":[{"name":"b","type":"bool","size":1}]}]}"#
        let payload = hex("0001 0002 05 03 752f62 00000001 01")
        let sound = Self.header + Self.device(payload) + [0] + GoldenStream.describing(described)
        let short = Self.header + Self.device(payload.dropLast()) + [0] + GoldenStream.describing(described)
        #expect(try Self.states(sound) == [payload])
        #expect(
            streamError { _ = try decode(Array(short)) }
                == .sectionSizeMismatch(section: "unheard-of", instance: 0, offset: 32, described: 14, found: 13))
    }

    @Test func `are followed by nothing behind the description`() throws {
        let whole = Self.header + [0] + GoldenStream.describing("")
        #expect(streamError { _ = try decode(whole + [0]) } == .trailingBytes(offset: whole.count, count: 1))
    }

    @Test func `need no readable description where it is not asked for`() throws {
        let stream = Self.header + hex("00 06 00000002 7b7d")
        var options = StreamOptions()
        options.checksDescription = false
        let error = streamError { _ = try decode(stream) }
        #expect("\(String(describing: error))".contains("description"))
        #expect(try decode(stream, options: options).elements.count == 3)
    }

    @Test func `of known devices end where their layout ends, before what follows them is there`() throws {
        var decoder = StreamDecoder()
        let timer = hex("04 00000000 05 74696d6572 00000000 00000002") + [UInt8](repeating: 0, count: 24)
        let step = try feed(Self.header + timer + hex("7e 00000000"), to: &decoder)
        #expect(step == .needsMore(byteCount: 1))
        #expect(decoder.deviceSections.map(\.byteCount) == [24])
    }

    @Test func `are recorded with their sizes`() throws {
        let stream = Self.header + Self.device([1, 2, 3]) + [0]
        let decoded = try decode(stream)
        #expect(
            decoded.decoder.deviceSections == [
                DeviceSectionRecord(name: "unheard-of", instance: 0, version: 1, offset: 32, byteCount: 3)
            ])
    }

    @Test(arguments: [
        (
            "51455650 00000003",
            StreamError.unexpectedValue(
                field: "stream's magic", offset: 0, expected: 0x5145_564d, found: 0x5145_5650)
        ),
        ("5145564d 00000002", .unexpectedValue(field: "stream's version", offset: 4, expected: 3, found: 2)),
        ("5145564d 00000003 09", .unknownSectionType(offset: 8, found: 9)),
        ("5145564d 00000003 05", .misplaced(item: "subsection", offset: 8)),
        ("5145564d 00000003 06", .misplaced(item: "description", offset: 8)),
        ("5145564d 00000003 7e", .misplaced(item: "footer", offset: 8)),
        ("5145564d 00000003 02 00000005", .unknownSection(offset: 9, id: 5)),
        (
            "5145564d 00000003 01 00000002 03 72616d 00000000 00000003",
            .unexpectedValue(
                field: "version of section ram", offset: 21, expected: 4, found: 3)
        ),
        (
            "5145564d 00000003 01 00000002 03 72616d 00000000 00000004 0000000000000010 7d",
            .missingFooter(section: "ram", offset: 33, found: 0x7d)
        ),
        (
            "5145564d 00000003 01 00000002 03 72616d 00000000 00000004 0000000000000010 7e 00000003",
            .footerMismatch(section: "ram", offset: 34, expected: 2, found: 3)
        ),
        ("5145564d 00000003 04 00000002 03 72007d", .invalidName(field: "a section's name", offset: 15, found: 0)),
        ("5145564d 00000003 04 00000002 00", .invalidName(field: "a section's name", offset: 14, found: nil)),
        ("5145564d 00000003 08 000c 0000", .unknownCommand(offset: 9, found: 12)),
        (
            "5145564d 00000003 08 0002 0005",
            .unexpectedValue(
                field: "length of command 2", offset: 11, expected: 4, found: 5)
        ),
        ("5145564d 00000003 00 05", .trailingBytes(offset: 9, count: 1)),
    ])
    func `are refused`(stream: String, error: StreamError) throws {
        #expect(streamError { _ = try decode(hex(stream)) } == error)
    }

    @Test func `of the configuration may have subsections that nobody knows`() throws {
        let unknown = hex("05 12") + ascii("configuration/ourt") + hex("00000002 aabbcc")
        let uuid = hex("05 12") + ascii("configuration/uuid") + hex("00000001 00112233445566778899aabbccddeeff")
        let stream = Self.header + Self.configuration + unknown + uuid + hex("08 0001 0000 00")
        let decoded = try decode(stream)
        #expect(decoded.differingElements == [])
        #expect(
            decoded.decoder.configuration == [
                .unknown(name: "configuration/ourt", version: 2, contents: [0xaa, 0xbb, 0xcc]),
                .uuid(MachineUUID(high: 0x0011_2233_4455_6677, low: 0x8899_aabb_ccdd_eeff)),
            ])
    }

    @Test func `are no more than the limit`() throws {
        var limits = StreamLimits()
        limits.maximumSectionCount = 2
        var decoder = StreamDecoder(limits: limits)
        let stream = Self.header + Self.device([1]) + Self.device([2]) + Self.device([3])
        let error = streamError { _ = try feed(stream, to: &decoder) }
        #expect("\(String(describing: error))".contains("number of sections"))
    }

    @Test func `in a package end with it`() throws {
        var decoder = StreamDecoder(options: StreamOptions(kind: .package))
        let contents = Self.device([1, 2])
        let decoded = try decode(contents, decoder: decoder)
        #expect(decoded.elements.count == 3)
        let error = streamError { _ = try feed([0], to: &decoder) }
        #expect(error == .misplaced(item: "end of the stream", offset: 0))
    }
}

@Suite("Errors") struct StreamErrorTests {
    @Test func `say the object, the place and both values`() {
        #expect(
            StreamError.footerMismatch(section: "ram", offset: 34, expected: 2, found: 3).description
                == "The footer of section ram says 3 where 2 is expected, at offset 34 (0x22).")
        #expect(
            StreamError.pageOutsideBlock("m0", offset: 100, pageOffset: 0x4000, usedByteCount: 0x4000).description
                == "The page 0x4000 at offset 100 (0x64) is outside of RAM block m0 of 16384 bytes.")
        #expect(
            StreamError.truncated(part: "the header", offset: 4, missing: 1).description
                == "The stream ends inside the header, 1 byte short, at offset 4 (0x4).")
    }
}
