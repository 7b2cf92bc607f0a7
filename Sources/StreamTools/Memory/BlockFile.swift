import LinuxSystem
import MigrationStream

/// The memory of one RAM block in a sparse file: pages of zeros take no space.
final class BlockFile {
    private let descriptor: OwnedDescriptor
    private(set) var byteCount: Int
    /// Pages that lie one behind the other and are not written yet.
    private var pending: [UInt8] = []
    private var pendingOffset = 0
    /// Up to here the file was written to; beyond it is a hole anyway.
    private var highestOffset = 0

    private static let maximumPendingByteCount = 1 << 18

    /// Fills `descriptor`, an empty file, with a block of `byteCount` bytes.
    init(_ descriptor: consuming OwnedDescriptor, byteCount: Int) throws(SystemError) {
        try descriptor.truncate(to: Int64(byteCount))
        self.descriptor = descriptor
        self.byteCount = byteCount
    }

    /// Makes room up to `end`, for blocks whose size is not known before.
    func grow(to end: Int) throws(SystemError) {
        guard end > byteCount else { return }
        try descriptor.truncate(to: Int64(end))
        byteCount = end
    }

    /// Writes one page.
    func write(_ page: RawSpan, at offset: Int) throws(SystemError) {
        if isZeroPage(page) { return try clear(offset..<(offset + page.byteCount)) }
        if offset != pendingOffset + pending.count || pending.count >= Self.maximumPendingByteCount { try flush() }
        if pending.isEmpty { pendingOffset = offset }
        page.withUnsafeBytes { pending.append(contentsOf: $0) }
    }

    /// Fills a page with one byte.
    func fill(_ byte: UInt8, _ range: Range<Int>) throws(SystemError) {
        if byte == 0 { return try clear(range) }
        try flush()
        let bytes = [UInt8](repeating: byte, count: range.count)
        try write(bytes.span.bytes, to: range.lowerBound)
    }

    /// Makes a range zero.
    func clear(_ range: Range<Int>) throws(SystemError) {
        if !pending.isEmpty, range.overlaps(pendingOffset..<(pendingOffset + pending.count)) { try flush() }
        let written = range.clamped(to: 0..<max(0, highestOffset))
        if !written.isEmpty { try descriptor.clear(Int64(written.lowerBound)..<Int64(written.upperBound)) }
    }

    /// Reads a range into the beginning of `bytes`.
    func read(_ range: Range<Int>, into bytes: inout [UInt8]) throws(SystemError) {
        try flush()
        var done = 0
        while done < range.count {
            var failure: SystemError?
            let count = bytes.withUnsafeMutableBytes { buffer in
                do throws(SystemError) {
                    return try descriptor.read(
                        into: UnsafeMutableRawBufferPointer(rebasing: buffer[done..<range.count]),
                        at: Int64(range.lowerBound + done))
                } catch {
                    failure = error
                    return 0
                }
            }
            if let failure { throw failure }
            // Past the end of a file that is shorter than the block is asked for: zeros.
            if count == 0 {
                for index in done..<range.count { bytes[index] = 0 }
                return
            }
            done += count
        }
    }

    /// The next range from `offset` on that may hold something else than zeros.
    func data(from offset: Int) throws(SystemError) -> Range<Int>? {
        try flush()
        guard let range = try descriptor.data(from: Int64(offset)) else { return nil }
        return Int(range.lowerBound)..<Int(range.upperBound)
    }

    /// Writes what is not written yet.
    func flush() throws(SystemError) {
        if pending.isEmpty { return }
        let bytes = pending
        pending = []
        try write(bytes.span.bytes, to: pendingOffset)
        pending = bytes
        pending.removeAll(keepingCapacity: true)
    }

    private func write(_ bytes: RawSpan, to offset: Int) throws(SystemError) {
        try descriptor.write(all: bytes, at: Int64(offset))
        highestOffset = max(highestOffset, offset + bytes.byteCount)
    }
}
