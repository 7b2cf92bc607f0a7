import Foundation
import MigrationStream
import Testing

@Suite("XBZRLE") struct XBZRLETests {
    struct Vector: Decodable {
        var old: String
        var enc: String
        var new: String
    }

    static func vectors() throws -> [Vector] {
        try JSONDecoder().decode([Vector].self, from: Data(try Fixture.load("xbzrle-vectors.json")))
    }

    /// The update from `old` to `new` in at most `room` bytes.
    static func encode(_ old: [UInt8], _ new: [UInt8], room: Int = 4096) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: room)
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        let count = XBZRLE.encode(old: old.span.bytes, new: new.span.bytes, into: &raw)
        return count.map { Array(bytes[..<$0]) }
    }

    static func apply(_ update: [UInt8], to page: [UInt8]) throws -> [UInt8] {
        var bytes = page
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        try XBZRLE.apply(update.span.bytes, to: &raw)
        return bytes
    }

    @Test func `updates that QEMU wrote are made and written as QEMU does`() throws {
        let vectors = try Self.vectors()
        #expect(vectors.count == 19)
        for vector in vectors {
            #expect(try Self.apply(hex(vector.enc), to: hex(vector.old)) == hex(vector.new))
            #expect(Self.encode(hex(vector.old), hex(vector.new)) == hex(vector.enc))
        }
    }

    @Test func `equal pages have an empty update`() {
        let page = [UInt8](repeating: 9, count: 4096)
        #expect(Self.encode(page, page) == [])
    }

    @Test func `a page without a byte in common is sent whole`() {
        let old = [UInt8](repeating: 0, count: 4096)
        #expect(Self.encode(old, [UInt8](repeating: 1, count: 4096)) == nil)
    }

    @Test(
        arguments: [
            ([0, 0, 0, 0], [1, 2, 3, 4], "00 04 01020304"),  // all of it
            ([0, 0, 0, 0], [0, 0, 0, 4], "03 01 04"),  // the last byte
            ([0, 0, 0, 0], [1, 0, 2, 0], "00 01 01 01 01 02"),  // two runs, the tail is left out
        ] as [([UInt8], [UInt8], String)])
    func `small pages are written like this`(old: [UInt8], new: [UInt8], update: String) {
        #expect(Self.encode(old, new, room: 16) == hex(update))
    }

    @Test func `random changes come back`() throws {
        for seed in 0..<200 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            let old = (0..<4096).map { _ in UInt8.random(in: 0...3, using: &generator) }
            var new = old
            for _ in 0..<Int.random(in: 0...60, using: &generator) {
                let start = Int.random(in: 0..<4096, using: &generator)
                let end = min(4096, start + Int.random(in: 1...200, using: &generator))
                for index in start..<end { new[index] = UInt8.random(in: 0...255, using: &generator) }
            }
            guard let update = Self.encode(old, new) else { continue }
            #expect(try Self.apply(update, to: old) == new, "seed \(seed)")
        }
    }

    @Test(arguments: [
        ("00 00", "no changed bytes"), ("05", "ends before a length"), ("00 81", "ends in a length"),
        ("00 8180 01", "length of three bytes"), ("00 05 0102", "changed bytes are missing"),
        ("00 01 aa 00 01 bb", "two changes side by side"), ("ff1f 02 0102", "beyond the page"),
        ("ff7f 01 00", "far beyond the page"),
    ])
    func `an update is refused, and the page left alone`(update: String, why: String) throws {
        let page = [UInt8](repeating: 7, count: 4096)
        var bytes = page
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        let error = streamError { try XBZRLE.apply(hex(update).span.bytes, to: &raw) }
        #expect(error != nil)
        #expect(bytes == page)
    }

    @Test func `every cut and every changed bit gives a page or an error`() throws {
        let vector = try #require(try Self.vectors().first)
        let update = hex(vector.enc)
        let old = hex(vector.old)
        for count in 0..<update.count { _ = streamError { _ = try Self.apply(Array(update[..<count]), to: old) } }
        for bit in 0..<(update.count * 8) {
            var changed = update
            changed[bit / 8] ^= 1 << (bit % 8)
            _ = streamError { _ = try Self.apply(changed, to: old) }
        }
    }
}

@Suite("Zero page test") struct ZeroPageTests {
    static func isZero(_ bytes: [UInt8]) -> Bool { isZeroPage(bytes.span.bytes) }

    @Test func `a page of zeros is zero`() { #expect(Self.isZero([UInt8](repeating: 0, count: 4096))) }

    @Test func `one bit anywhere makes it not zero`() {
        for offset in 0..<4096 {
            var page = [UInt8](repeating: 0, count: 4096)
            page[offset] = 0x80
            #expect(!Self.isZero(page))
        }
    }

    @Test(arguments: [0, 1, 7, 255, 257, 300])
    func `any length will do`(count: Int) {
        let bytes = [UInt8](repeating: 0, count: count)
        #expect(Self.isZero(bytes))
        #expect(!Self.isZero(bytes + [1]))
    }
}
