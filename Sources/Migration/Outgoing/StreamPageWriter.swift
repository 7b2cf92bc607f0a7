internal import GuestMemory
internal import LinuxSystem
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
    let findsZeroPages: Bool
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
        var counts = (normal: 0, zero: 0)
        for group in stride(from: first, to: first + pageCount, by: 64) {
            let count = min(64, first + pageCount - group)
            let start = block.bytes(at: group * pageSize, count: count * pageSize)
            guard let pages = start.baseAddress else { return }
            let zero = findsZeroPages ? zeroPages(at: pages, count: count) : 0
            var index = 0
            while index < count {
                let isZero = zero >> UInt64(index) & 1 == 1
                let others = (isZero ? ~zero : zero) >> UInt64(index)
                let length = min(count - index, others.trailingZeroBitCount)
                let offset = (group + index) * pageSize
                if isZero {
                    try writeZeros(region: region, block: block, offset: offset, count: length)
                    counts.zero += length
                } else {
                    let run = UnsafeMutableRawBufferPointer(start: pages + index * pageSize, count: length * pageSize)
                    counts.normal += try append(run, region: region, block: block, offset: offset)
                }
                index += length
            }
        }
        counters.addPages(normal: counts.normal, zero: counts.zero)
    }

    /// Writes pages that are not zero; how many of them whole.
    private func append(
        _ pages: UnsafeMutableRawBufferPointer, region: Int, block: RAMBlock, offset: Int
    ) throws -> Int {
        let pageCount = pages.count / pageSize
        guard let start = pages.baseAddress else { return 0 }
        if let delta {
            var wholeCount = 0
            for index in 0..<pageCount {
                let page = UnsafeMutableRawBufferPointer(start: start + index * pageSize, count: pageSize)
                let offset = offset + index * pageSize
                if try append(page, delta: delta, region: region, block: block, offset: offset) { wholeCount += 1 }
            }
            return wholeCount
        }
        var done = 0
        if currentRegion != region {
            try writeHeader(.page, region: region, block: block, offset: offset, follows: 0)
            output.append(start, count: pageSize)
            done = 1
        }
        while done < pageCount {
            try output.reserve(byteCount: 8, pieceCount: 2)
            done += output.appendRecords(
                word: Self.continuation(.page, offset + done * pageSize), pages: start + done * pageSize,
                count: pageCount - done)
        }
        return pageCount
    }

    func appendZeros(region: Int, block: RAMBlock, first: Int, pageCount: Int) throws {
        try writeZeros(region: region, block: block, offset: first * pageSize, count: pageCount)
        counters.addPages(normal: 0, zero: pageCount)
    }

    /// Writes pages of zeros, which somebody else counts.
    func writeZeros(region: Int, block: RAMBlock, offset: Int, count: Int) throws {
        var done = 0
        if currentRegion != region {
            try writeHeader(.zero, region: region, block: block, offset: offset, follows: 1)
            output.free.storeBytes(of: 0, as: UInt8.self)
            output.advance(1)
            done = 1
        }
        while done < count {
            try output.reserve(byteCount: 9)
            done += output.appendZeroRecords(
                word: Self.continuation(.zero, offset + done * pageSize), count: count - done)
        }
        guard let delta else { return }
        for index in 0..<count { delta.forgetContents(region: region, offset: offset + index * pageSize) }
    }

    /// The first word of a record of the same block as the one before.
    private static func continuation(_ flags: RAMRecordFlags, _ offset: Int) -> UInt64 {
        UInt64(offset) | flags.rawValue | RAMRecordFlags.continuesBlock.rawValue
    }

    func finishPass() throws { try output.flush() }

    /// Writes what stands before a page, with room for `follows` more own bytes and the page itself.
    private func writeHeader(
        _ flags: RAMRecordFlags, region: Int, block: RAMBlock, offset: Int, follows: Int
    ) throws {
        if currentRegion == region {
            try output.reserve(byteCount: 8 + follows, pieceCount: 2)
            output.free.storeBytes(of: Self.continuation(flags, offset).bigEndian, as: UInt64.self)
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
