import MigrationStream
import Testing

@Suite("Block list") struct BlockListTests {
    static let beginning = hex("5145564d 00000003 07 00000007 6d6963726f766d")
    static let ramStart = hex("01 00000002 03 72616d 00000000 00000004")
    static let advice = hex("08 0003 0010 0000000000201000 0000000000001000")

    static func blocks(_ bytes: [UInt8]) throws -> [RAMBlockDescription] {
        var decoder = StreamDecoder()
        _ = try feed(bytes, to: &decoder)
        return decoder.blocks.blocks
    }

    @Test func `has page sizes where post-copy meets huge pages`() throws {
        let list = hex(
            """
            0000000000804004                       // 0x804000 bytes
            02 6d30 0000000000400000 0000000000200000   // "m0", 4 MiB of 2 MiB pages
            02 6d31 0000000000004000               // "m1", usual pages
            02 6d32 0000000000400000 0000000000200000   // "m2", the last, 2 MiB pages again
            0000000000000010
            """)
        #expect(
            try Self.blocks(Self.beginning + Self.advice + Self.ramStart + list) == [
                RAMBlockDescription(name: "m0", usedByteCount: 0x40_0000, hostPageByteCount: 0x20_0000),
                RAMBlockDescription(name: "m1", usedByteCount: 0x4000),
                RAMBlockDescription(name: "m2", usedByteCount: 0x40_0000, hostPageByteCount: 0x20_0000),
            ])
    }

    @Test func `has page sizes and addresses together`() throws {
        let capability =
            hex("05 1a") + ascii("configuration/capabilities")
            + hex("00000001 00000001 0f") + ascii("x-ignore-shared")
        let list = hex(
            """
            0000000000404004
            02 6d30 0000000000004000 00000000fff00000                    // usual pages, address
            02 6d31 0000000000400000 0000000000200000 0000000100000000   // 2 MiB pages, address 4 GiB
            0000000000000200
            """)
        #expect(
            try Self.blocks(Self.beginning + capability + Self.advice + Self.ramStart + list) == [
                RAMBlockDescription(name: "m0", usedByteCount: 0x4000, guestAddress: 0xfff0_0000),
                RAMBlockDescription(
                    name: "m1", usedByteCount: 0x40_0000, hostPageByteCount: 0x20_0000, guestAddress: 0x1_0000_0000),
            ])
    }

    @Test func `is refused when its blocks are larger than its total`() throws {
        let list = hex("0000000000004004 02 6d30 0000000000005000")
        #expect(
            streamError { _ = try Self.blocks(Self.beginning + Self.ramStart + list) }
                == .blockListTotalMismatch(offset: 48, expected: 0x4000, found: 0x5000))
    }

    @Test func `is refused when it names a block twice`() throws {
        let list = hex("0000000000004004 02 6d30 0000000000002000 02 6d30 0000000000002000")
        #expect(
            streamError { _ = try Self.blocks(Self.beginning + Self.ramStart + list) }
                == .duplicateBlock("m0", offset: 56))
    }

    @Test func `may come once only`() throws {
        let list = hex("0000000000001004 02 6d30 0000000000001000 0000000000001004")
        #expect(
            streamError { _ = try Self.blocks(Self.beginning + Self.ramStart + list) }
                == .misplaced(item: "block list", offset: 56))
    }

    @Test func `holds no more blocks than the limit`() throws {
        var limits = StreamLimits()
        limits.maximumBlockCount = 2
        var decoder = StreamDecoder(limits: limits)
        let list = hex(
            "0000000000003004 02 6d30 0000000000001000 02 6d31 0000000000001000 02 6d32 0000000000001000")
        let error = streamError { _ = try feed(Self.beginning + Self.ramStart + list, to: &decoder) }
        #expect(error == .limitExceeded(field: "number of RAM blocks", offset: 67, limit: 2, found: 3))
    }

    @Test(arguments: [1, 1000, Int.max])
    func `of a mapped-ram file is followed by each block's pages`(chunk: Int) throws {
        let file = MappedFile.bytes
        let decoded = try decode(file, chunk: chunk)
        let first = MappedRAMLayout(
            pageByteCount: 4096, bitmapOffset: MappedFile.bitmapOffset, pagesOffset: MappedFile.pagesOffset)
        #expect(decoded.differingElements == [])
        #expect(
            decoded.decoder.blocks.blocks == [
                RAMBlockDescription(name: "m0", usedByteCount: 0x2000, mapping: first),
                RAMBlockDescription(
                    name: "m1", usedByteCount: 0x1000,
                    mapping: MappedRAMLayout(pageByteCount: 4096, bitmapOffset: 0, pagesOffset: 0)),
            ])
        let pages = decoded.elements.reduce(0) { sum, element in
            guard case .mappedRAM(let piece) = element, piece.part == .pages else { return sum }
            return sum + piece.bytes.count
        }
        #expect(pages == 0x2000)
    }
}

/// A file as mapped-ram writes it: one block of two pages, one block that is not saved.
enum MappedFile {
    static let beginning =
        hex("5145564d 00000003 07 00000007 6d6963726f766d 05 1a") + ascii("configuration/capabilities")
        + hex("00000001 00000001 0a") + ascii("mapped-ram") + BlockListTests.ramStart
        + hex("0000000000003004 02 6d30 0000000000002000")
    static let bitmapOffset = beginning.count + 28
    static let pagesOffset = 0x1000

    static let bytes =
        beginning + hex("00000001 0000000000001000") + bigEndian(bitmapOffset) + bigEndian(pagesOffset)
        + hex("0200000000000000") + [UInt8](repeating: 0, count: pagesOffset - bitmapOffset - 8)
        + [UInt8](repeating: 0, count: 4096) + [UInt8](repeating: 0x77, count: 4096)
        + hex(
            """
            02 6d31 0000000000001000 00000001 0000000000001000 0000000000000000 0000000000000000
            0000000000000010 7e 00000002 00
            """)

    static func bigEndian(_ value: Int) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) }
    }
}
