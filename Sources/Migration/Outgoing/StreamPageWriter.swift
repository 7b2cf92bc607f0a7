internal import GuestMemory
internal import MigrationStream

/// Writes pages as records of the main channel: a header from the arena, then the page straight from guest memory.
///
///     8 bytes address | flags [· name] · 4096 bytes        a page
///     8 bytes address | flags [· name] · 1 byte            a page of zeros
///
/// Consecutive zero pages lie in the arena one after another and are one piece to the kernel.
final class StreamPageWriter: PageWriter {
    private let output: StreamOutput
    private let counters: TransferCounters
    private let findsZeroPages: Bool
    private let delta: DeltaEncoder?
    private var currentRegion: Int?
    /// Deltas are made from the second pass on: the first sends everything once.
    var usesDeltas = false

    init(output: StreamOutput, counters: TransferCounters, findsZeroPages: Bool, delta: DeltaEncoder? = nil) {
        self.output = output
        self.counters = counters
        self.findsZeroPages = findsZeroPages
        self.delta = delta
    }

    func append(region: Int, block: RAMBlock, first: Int, pageCount: Int) throws {
        var zeroCount = 0
        var normalCount = 0
        let start = block.bytes(at: first * pageSize, count: pageCount * pageSize)
        for index in 0..<pageCount {
            let page = UnsafeMutableRawBufferPointer(rebasing: start[index * pageSize..<(index + 1) * pageSize])
            let offset = (first + index) * pageSize
            if findsZeroPages && isZeroPage(UnsafeRawBufferPointer(page).bytes) {
                try appendZero(region: region, block: block, offset: offset)
                zeroCount += 1
            } else if let delta {
                normalCount += try append(page, delta: delta, region: region, block: block, offset: offset) ? 1 : 0
            } else {
                try writeHeader(.page, region: region, block: block, offset: offset, follows: 0)
                output.append(page.baseAddress.unsafelyUnwrapped, count: pageSize)
                normalCount += 1
            }
        }
        counters.addPages(normal: normalCount, zero: zeroCount)
    }

    /// Writes a page of zeros.
    func appendZero(region: Int, block: RAMBlock, offset: Int) throws {
        try writeHeader(.zero, region: region, block: block, offset: offset, follows: 1)
        output.free.storeBytes(of: 0, as: UInt8.self)
        output.advance(1)
        delta?.forgetContents(region: region, offset: offset)
    }

    func finishPass() throws { try output.flush() }

    /// Writes what stands before a page, with room for `follows` more own bytes and the page itself.
    @inline(__always)
    private func writeHeader(
        _ flags: RAMRecordFlags, region: Int, block: RAMBlock, offset: Int, follows: Int
    ) throws {
        if currentRegion == region {
            try output.reserve(byteCount: 8 + follows, pieceCount: 2)
            let word = UInt64(offset) | flags.rawValue | RAMRecordFlags.continuesBlock.rawValue
            output.free.storeBytes(of: word.bigEndian, as: UInt64.self)
            output.advance(8)
            return
        }
        try output.reserve(byteCount: StreamEncoder.maximumPageHeaderByteCount + follows, pieceCount: 2)
        try output.write(byteCount: 9 + block.name.utf8.count) { writer in
            writer.write(RAMPageHeader(blockOffset: offset, flags: flags).word)
            writer.writeName(block.name)
        }
        currentRegion = region
    }

    /// Writes a page as changes to what was sent of it before, if that is known and shorter.
    ///
    /// - Returns: Whether the whole page was written.
    private func append(
        _ page: UnsafeMutableRawBufferPointer, delta: DeltaEncoder, region: Int, block: RAMBlock, offset: Int
    ) throws -> Bool {
        let outcome =
            usesDeltas ? delta.encode(UnsafeRawBufferPointer(page), region: region, offset: offset) : .notUsed
        switch outcome {
        case .unchanged: return false
        case .changes(let byteCount):
            try writeHeader(.xbzrle, region: region, block: block, offset: offset, follows: 3 + byteCount)
            try output.write(byteCount: 3) { StreamEncoder.writeDeltaHeader(byteCount: byteCount, into: &$0) }
            try append(copying: delta.update(byteCount: byteCount))
            return false
        case .notUsed:
            try writeHeader(.page, region: region, block: block, offset: offset, follows: 0)
            output.append(page.baseAddress.unsafelyUnwrapped, count: pageSize)
            return true
        case .whole(let copy):
            // What was sent must be what the cache holds, so the copy is sent, not the page.
            try writeHeader(.page, region: region, block: block, offset: offset, follows: pageSize)
            try append(copying: copy)
            return true
        }
    }

    private func append(copying bytes: UnsafeRawBufferPointer) throws {
        try output.reserve(byteCount: bytes.count)
        guard let start = bytes.baseAddress else { return }
        output.free.copyMemory(from: start, byteCount: bytes.count)
        output.advance(bytes.count)
    }
}
