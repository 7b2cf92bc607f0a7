import PageCompression
import Testing

private let pageSize = 4096

/// Pages that differ from each other: a text, noise, zeros, in turn.
private func samplePages(_ count: Int, seed: UInt64) -> [[UInt8]] {
    var state = seed
    return (0..<count).map { index in
        switch index % 3 {
        case 0: (0..<pageSize).map { UInt8(truncatingIfNeeded: $0 / 64 + index) }
        case 1:
            (0..<pageSize).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 56)
            }
        default: [UInt8](repeating: 0, count: pageSize)
        }
    }
}

private func compress(_ pages: [[UInt8]], with deflater: inout PacketDeflater, _ method: PageCompressionMethod) throws
    -> [UInt8]
{
    var output = [UInt8](
        repeating: 0, count: PacketDeflater.outputBound(method, pageCount: pages.count, pageSize: pageSize))
    var position = 0
    deflater.start(pageCount: pages.count)
    for page in pages {
        var elements = output.mutableSpan
        var span = elements.mutableBytes
        try deflater.append(page.span.bytes, to: &span, at: &position)
    }
    return Array(output.prefix(position))
}

private func inflate(_ packet: [UInt8], pageCount: Int, with inflater: inout PacketInflater) throws -> [UInt8] {
    var pages = [UInt8](repeating: 0xEE, count: pageCount * pageSize)
    var elements = pages.mutableSpan
    var span = elements.mutableBytes
    try inflater.inflate(packet: packet.span.bytes, into: &span)
    return pages
}

@Suite("Packet compression") struct PacketCompressionTests {
    @Test(arguments: [PageCompressionMethod.zlib, .zstd], [1, 6, 9])
    func `packets of one channel inflate to the pages they were made of`(
        method: PageCompressionMethod, level: Int
    ) throws {
        var deflater = try PacketDeflater(method, level: level)
        var inflater = try PacketInflater(method)
        for (number, pageCount) in [1, 128, 3, 127, 128].enumerated() {
            let pages = samplePages(pageCount, seed: UInt64(number))
            let packet = try compress(pages, with: &deflater, method)
            #expect(try inflate(packet, pageCount: pageCount, with: &inflater) == pages.flatMap { $0 })
        }
    }

    @Test(arguments: [PageCompressionMethod.zlib, .zstd])
    func `pages can be read one at a time into places of their own`(method: PageCompressionMethod) throws {
        var deflater = try PacketDeflater(method)
        var inflater = try PacketInflater(method)
        let pages = samplePages(5, seed: 7)
        let packet = try compress(pages, with: &deflater, method)
        inflater.start()
        for page in pages {
            var place = [UInt8](repeating: 0xEE, count: pageSize)
            var elements = place.mutableSpan
            var span = elements.mutableBytes
            try inflater.inflate(packet.span.bytes, into: &span)
            #expect(place == page)
        }
        try inflater.finish(packet.span.bytes)
    }

    @Test func `a zlib channel starts with a header, and each packet ends with an empty stored block`() throws {
        var deflater = try PacketDeflater(.zlib, level: 1)
        let first = try compress(samplePages(2, seed: 1), with: &deflater, .zlib)
        let second = try compress(samplePages(2, seed: 1), with: &deflater, .zlib)
        #expect(first.starts(with: [0x78, 0x01]))  // deflate, 32 KiB window, fastest
        #expect(!second.starts(with: [0x78, 0x01]))
        #expect(first.suffix(4) == [0x00, 0x00, 0xFF, 0xFF])
        #expect(second.suffix(4) == [0x00, 0x00, 0xFF, 0xFF])
    }

    @Test func `a zstd channel starts with the frame's magic number only once`() throws {
        var deflater = try PacketDeflater(.zstd, level: 1)
        let first = try compress(samplePages(2, seed: 1), with: &deflater, .zstd)
        let second = try compress(samplePages(2, seed: 1), with: &deflater, .zstd)
        #expect(first.starts(with: [0x28, 0xB5, 0x2F, 0xFD]))
        #expect(!second.starts(with: [0x28, 0xB5, 0x2F, 0xFD]))
    }

    @Test(arguments: [PageCompressionMethod.zlib, .zstd])
    func `a packet with a page less or a page more than announced is refused`(method: PageCompressionMethod) throws {
        let pages = samplePages(3, seed: 3)
        for announced in [2, 4] {
            var deflater = try PacketDeflater(method)
            var inflater = try PacketInflater(method)
            let packet = try compress(pages, with: &deflater, method)
            #expect(throws: CompressionError.self) {
                try inflate(packet, pageCount: announced, with: &inflater)
            }
        }
    }

    @Test(arguments: [PageCompressionMethod.zlib, .zstd])
    func `bytes after the packet's flush are refused`(method: PageCompressionMethod) throws {
        var deflater = try PacketDeflater(method)
        var inflater = try PacketInflater(method)
        let packet = try compress(samplePages(1, seed: 3), with: &deflater, method) + [0xFF, 0xFF, 0xFF, 0xFF]
        #expect(throws: CompressionError.self) { try inflate(packet, pageCount: 1, with: &inflater) }
    }

    @Test(arguments: [PageCompressionMethod.zlib, .zstd])
    func `every truncation and every bit flip of a packet is pages or an error`(method: PageCompressionMethod) throws {
        var deflater = try PacketDeflater(method)
        let packet = try compress(samplePages(1, seed: 3), with: &deflater, method)
        for length in 0..<packet.count {
            var inflater = try PacketInflater(method)
            let cut = Array(packet.prefix(length))
            do {
                // Without the flush at its end a packet may still hold all of the page.
                #expect(try inflate(cut, pageCount: 1, with: &inflater).count == pageSize)
            } catch is CompressionError {}
        }
        for bit in 0..<packet.count * 8 {
            var inflater = try PacketInflater(method)
            var damaged = packet
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            do {
                #expect(try inflate(damaged, pageCount: 1, with: &inflater).count == pageSize)
            } catch is CompressionError {}
        }
    }

    @Test func `a frame that asks for a window beyond the limit is refused`() throws {
        // Magic number; descriptor: no checksum, no dictionary, window follows; window 2^31 (exponent 21 above 10).
        let packet: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 21 << 3, 0x01, 0x00, 0x00]
        var inflater = try PacketInflater(.zstd)
        #expect(throws: CompressionError.self) { try inflate(packet, pageCount: 1, with: &inflater) }
    }
}

@Suite("Compressed page") struct CompressedPageTests {
    // 4096 zero bytes as Python's zlib.compress(bytes(4096), 1) gives them.
    private let zeros: [UInt8] = [
        0x78, 0x01, 0xED, 0xD0, 0x01, 0x0D, 0x00, 0x00, 0x00, 0xC2, 0xA0, 0xF7, 0x4F, 0x6D, 0x0F, 0x07, 0x11, 0x28,
        0x0C, 0x18, 0x30, 0x60, 0xC0, 0x80, 0x01, 0x03, 0x06, 0x0C, 0x18, 0x30, 0x60, 0xC0, 0x80, 0x81, 0xF7, 0x81,
        0x01, 0x10, 0x00, 0x00, 0x01,
    ]

    private func inflate(_ data: [UInt8], length: Int, with reader: inout CompressedPageReader) throws -> [UInt8] {
        var page = [UInt8](repeating: 0xEE, count: length)
        var elements = page.mutableSpan
        var span = elements.mutableBytes
        try reader.inflate(data.span.bytes, into: &span)
        return page
    }

    @Test func `inflates, one after another`() throws {
        var reader = try CompressedPageReader()
        for _ in 0..<3 {
            #expect(
                try inflate(zeros, length: pageSize, with: &reader) == [UInt8](repeating: 0, count: pageSize))
        }
    }

    @Test func `is refused when it is cut short anywhere`() throws {
        for length in 0..<zeros.count {
            var reader = try CompressedPageReader()
            #expect(throws: CompressionError.self) {
                try inflate(Array(zeros.prefix(length)), length: pageSize, with: &reader)
            }
        }
    }

    @Test(arguments: [pageSize - 1, pageSize + 1])
    func `is refused when it is no page long`(length: Int) throws {
        var reader = try CompressedPageReader()
        #expect(throws: CompressionError.self) { try inflate(zeros, length: length, with: &reader) }
    }

    @Test func `is refused when bytes follow it`() throws {
        var reader = try CompressedPageReader()
        #expect(throws: CompressionError.self) { try inflate(zeros + [0], length: pageSize, with: &reader) }
    }
}
