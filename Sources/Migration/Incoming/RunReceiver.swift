internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream

/// Receives page records straight into guest memory where a run of pages is likely to go on.
///
/// The next records are guessed to be the next pages of the run: one call receives headers into `headers` and pages
/// where they would belong, and only then are the headers looked at.
///
///     stream   header 0 | page 0 | header 1 | page 1 | …
///     pieces   headers[0] guest memory headers[1] guest memory …
///
/// Only pages that nothing has come for yet are guessed. Where a header is another, what lies behind it is taken back
/// into the reader's buffer, and the pages become zero again. Good guesses make the next one larger.
final class RunReceiver {
    private let memory: ReceivedMemory
    private let headers: UnsafeMutablePointer<UInt64>
    private var vectors = MemoryVectors(capacity: 2 * maximumGuess)
    private var guess = minimumGuess

    private static let minimumGuess = 4
    private static let maximumGuess = 256
    private static let recordByteCount = RAMPageHeader.byteCount + pageSize

    init(memory: ReceivedMemory) {
        self.memory = memory
        headers = .allocate(capacity: Self.maximumGuess)
    }

    deinit { headers.deallocate() }

    /// Receives pages of `region` from `offset` on, as long as the stream has the next one; how many.
    ///
    /// `reader` holds what was received of the first record behind the run.
    func receive(region: Int, from offset: Int, _ reader: ChannelReader) throws -> Int {
        var total = 0
        while true {
            let start = offset + total * pageSize
            let pageCount = memory.untouchedPageCount(region: region, offset: start, limit: guess)
            guard pageCount >= Self.minimumGuess, reader.unreadByteCount < Self.recordByteCount else { return total }
            let target = try memory.target(region: region, offset: start, pageCount: pageCount, marks: false)
            guard let pages = target.baseAddress, beginGuess(pages, pageCount, at: start, reader) else { return total }
            let received = try receiveGuess(pageCount, at: start, reader)
            let good = min(received.goodPageCount, pageCount)
            _ = try memory.target(region: region, offset: start, pageCount: good)
            total += good
            if good == pageCount {
                guess = min(guess * 2, Self.maximumGuess)
                continue
            }
            takeBack(pages, from: good, received.byteCount, reader)
            let touched = (received.byteCount + Self.recordByteCount - 1) / Self.recordByteCount
            memory.forget(region: region, offset: start + good * pageSize, pageCount: touched - good)
            guess = max(guess / 4, Self.minimumGuess)
            return total
        }
    }

    /// Puts the reader's bytes where they are guessed to belong, and makes pieces of the rest; false if they begin
    /// another record than the next.
    private func beginGuess(
        _ pages: UnsafeMutableRawPointer, _ pageCount: Int, at offset: Int, _ reader: ChannelReader
    ) -> Bool {
        let unread = reader.unreadBytes
        let header = UnsafeMutableRawPointer(headers)
        vectors.removeAll()
        if let from = unread.baseAddress, !unread.isEmpty {
            let headerCount = min(unread.count, RAMPageHeader.byteCount)
            header.copyMemory(from: from, byteCount: headerCount)
            if headerCount == RAMPageHeader.byteCount && headers[0] != Self.header(at: offset) { return false }
            pages.copyMemory(from: from + headerCount, byteCount: unread.count - headerCount)
            vectors.append(header + headerCount, count: RAMPageHeader.byteCount - headerCount)
            let pageByteCount = unread.count - headerCount
            vectors.append(pages + pageByteCount, count: pageSize - pageByteCount)
        } else {
            vectors.append(header, count: RAMPageHeader.byteCount)
            vectors.append(pages, count: pageSize)
        }
        for index in 1..<pageCount {
            vectors.append(header + index * RAMPageHeader.byteCount, count: RAMPageHeader.byteCount)
            vectors.append(pages + index * pageSize, count: pageSize)
        }
        return true
    }

    /// Receives the pieces until all are full, a header is another than guessed, or the stream ends.
    ///
    /// - Returns: How many records are as guessed and whole, and how many bytes came, with those that the reader had.
    private func receiveGuess(
        _ pageCount: Int, at offset: Int, _ reader: ChannelReader
    ) throws -> (goodPageCount: Int, byteCount: Int) {
        var byteCount = reader.unreadByteCount
        reader.skip(byteCount)
        var checked = byteCount >= RAMPageHeader.byteCount ? 1 : 0
        while byteCount < pageCount * Self.recordByteCount {
            let count: Int
            do { count = try reader.channel.receive(some: &vectors) } catch { throw MigrationError.channel(error) }
            if count == 0 {
                reader.markEnded()
                return (byteCount / Self.recordByteCount, byteCount)
            }
            byteCount += count
            reader.count(count)
            while checked < pageCount && byteCount >= checked * Self.recordByteCount + RAMPageHeader.byteCount {
                if headers[checked] != Self.header(at: offset + checked * pageSize) { return (checked, byteCount) }
                checked += 1
            }
        }
        return (pageCount, byteCount)
    }

    /// Gives the reader the bytes from record `first` on, of `byteCount` that came.
    private func takeBack(
        _ pages: UnsafeMutableRawPointer, from first: Int, _ byteCount: Int, _ reader: ChannelReader
    ) {
        var record = first
        var rest = byteCount - first * Self.recordByteCount
        while rest > 0 {
            let headerCount = min(rest, RAMPageHeader.byteCount)
            reader.append(copying: UnsafeRawBufferPointer(start: headers + record, count: headerCount))
            let pageCount = min(rest - headerCount, pageSize)
            reader.append(copying: UnsafeRawBufferPointer(start: pages + record * pageSize, count: pageCount))
            rest -= headerCount + pageCount
            record += 1
        }
    }

    /// The header of a page that continues its block, as it lies on the wire.
    private static func header(at offset: Int) -> UInt64 {
        (UInt64(offset) | RAMRecordFlags.page.rawValue | RAMRecordFlags.continuesBlock.rawValue).bigEndian
    }
}
