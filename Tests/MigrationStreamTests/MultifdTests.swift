import MigrationStream
import Testing

@Suite("Multifd channel") struct MultifdTests {
    static let hello = hex("11223344 00000001 00112233445566778899aabbccddeeff 03") + [UInt8](repeating: 0, count: 39)

    /// A packet as QEMU 7.2 writes it: two pages of "m0", a stale offset in the third slot, stale bytes behind the name.
    static let packet =
        hex(
            """
            11223344 00000001 00000001   // magic, version, flags: sync
            00000080 00000002 00002000   // 128 slots, 2 pages, 8192 bytes
            0000000000000007             // packet 7
            00000000                     // zero pages
            """) + [UInt8](repeating: 0, count: 28) + hex("6d30 00 6f6c64") + [UInt8](repeating: 0, count: 250)
        + hex("0000000000001000 0000000000003000 00000000000ff000") + [UInt8](repeating: 0, count: 125 * 8)
        + [UInt8](repeating: 0x11, count: 4096) + [UInt8](repeating: 0x22, count: 4096)

    /// A sync as QEMU 10 writes it: zeros.
    static let sync = hex("11223344 00000001 00000001") + [UInt8](repeating: 0, count: 1344 - 12)

    static let deviceState =
        hex("11223344 00000001 00000040") + ascii("0000:00:05.0/vfio") + [UInt8](repeating: 0, count: 239)
        + hex("00000001 00000003 aabbcc")

    static func decode(_ stream: [UInt8]) throws -> [MultifdElement] {
        var decoder = MultifdDecoder()
        var elements: [MultifdElement] = []
        var position = 0
        while true {
            let unread = stream.span.bytes.extracting(position..<stream.count)
            guard case .element(let element, let byteCount) = try decoder.next(in: unread, ended: true) else {
                return elements
            }
            let written = write(byteCount: element.byteCount) { element.write(source: unread, into: &$0) }
            let isSame = unread.extracting(0..<byteCount).equals(written)
            #expect(isSame)
            elements.append(element)
            position += byteCount
        }
    }

    @Test func `begins with a hello`() throws {
        let uuid = MachineUUID(high: 0x0011_2233_4455_6677, low: 0x8899_aabb_ccdd_eeff)
        #expect(try Self.decode(Self.hello) == [.hello(MultifdHello(uuid: uuid, channel: 3))])
        #expect(uuid.description == "00112233-4455-6677-8899-aabbccddeeff")
        #expect(MachineUUID("00112233-4455-6677-8899-aabbccddeeff") == uuid)
    }

    @Test func `holds packets with stale fields`() throws {
        let elements = try Self.decode(Self.hello + Self.packet)
        guard case .packet(let packet, let data) = elements.last else {
            Issue.record("\(elements)")
            return
        }
        #expect(packet.flags == .sync)
        #expect(Array(packet.normalOffsets) == [0x1000, 0x3000])
        #expect(Array(packet.zeroOffsets) == [])
        #expect(packet.offsets[2] == 0xff000)
        #expect(packet.block == "m0")
        #expect(packet.packetNumber == 7)
        #expect(data == 1344..<(1344 + 8192))
    }

    @Test func `has no data in a sync, whatever its stale length says`() throws {
        var stale = Self.packet
        stale[19] = 0
        let elements = try Self.decode(Self.hello + stale[..<1344] + Self.sync)
        #expect(elements.map(\.byteCount) == [64, 1344, 1344])
    }

    @Test func `counts zero pages behind the others`() throws {
        var packet = MultifdPacket(
            flags: [], packetNumber: 1, block: "m0", normalOffsets: [0x2000], zeroOffsets: [0, 0x5000],
            dataByteCount: 4096)
        packet.offsets[3] = 0x9000
        let bytes = write(byteCount: packet.byteCount) { packet.write(into: &$0) }
        let elements = try Self.decode(Self.hello + bytes + [UInt8](repeating: 1, count: 4096))
        #expect(elements.last == .packet(packet, data: 1344..<5440))
        #expect(Array(packet.zeroOffsets) == [0, 0x5000])
    }

    @Test func `may carry the state of devices`() throws {
        let packet = MultifdDeviceStatePacket(name: "0000:00:05.0/vfio", instance: 1, dataByteCount: 3)
        #expect(try Self.decode(Self.hello + Self.deviceState).last == .deviceState(packet, data: 276..<279))
    }

    @Test func `gives the header alone for receiving pages in place`() throws {
        let decoder = MultifdDecoder(expectsHello: false)
        let bytes = Self.packet
        let whole = try decoder.decodePacketHeader(in: bytes.span.bytes.extracting(0..<1344))
        let cut = try decoder.decodePacketHeader(in: bytes.span.bytes.extracting(0..<1300))
        #expect(whole.packet?.dataByteCount == 8192)
        #expect(cut.packet == nil)
        #expect(cut.missing == 44)
    }

    @Test(arguments: [1, 7, 1000]) func `is the same in pieces`(chunk: Int) throws {
        try expectMultifdRoundTrip(Self.hello + Self.packet + Self.sync + Self.deviceState, chunk: chunk)
    }

    @Test(
        arguments: [
            (0, "51", "magic of a multifd packet", 0x5122_3344),  // magic
            (4, "01", "version of a multifd packet", 0x0100_0001),
            (22, "10", "data of a multifd packet", 0x1000),  // length of two uncompressed pages
        ] as [(Int, String, String, UInt64)])
    func `is refused with a wrong field`(at offset: Int, value: String, field: String, found: UInt64) throws {
        var packet = Self.packet
        packet[offset] = hex(value)[0]
        let error = streamError { _ = try Self.decode(Self.hello + packet) }
        guard case .unexpectedValue(field, let place, _, found) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(place == 64 + offset / 4 * 4)
    }

    @Test(arguments: [(14, 1), (17, 1), (33, 1)])
    func `is refused with more pages than slots`(at offset: Int, value: UInt8) throws {
        var packet = Self.packet
        packet[offset] = value
        let error = streamError { _ = try Self.decode(Self.hello + packet) }
        #expect("\(String(describing: error))".contains("outside its limit"))
    }

    @Test func `is refused when cut, and gives a value or an error for every changed bit`() throws {
        let stream = Self.hello + Self.packet[..<1344] + [UInt8](repeating: 1, count: 8192) + Self.deviceState
        let ends = [64, 64 + 1344 + 8192]
        for count in 1..<stream.count where count < 1500 || count > 9500 {
            let error = streamError { _ = try Self.decode(Array(stream[..<count])) }
            #expect((error == nil) == ends.contains(count), "cut to \(count)")
        }
        for bit in 0..<(stream.count * 8) {
            var changed = stream
            changed[bit / 8] ^= 1 << (bit % 8)
            _ = streamError { _ = try Self.decode(changed) }
        }
    }
}
