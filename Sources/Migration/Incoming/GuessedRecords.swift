internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream

/// Page records that are received before it is known what they are: their headers are guessed, and the pages go straight
/// to where they would belong.
///
///     stream   header 0 | page 0 | header 1 | page 1 | …
///     pieces   headers[0] memory   headers[1] memory …
///
/// What comes behind a header that is another one is given back to the reader. Good guesses make the next one larger.
final class GuessedRecords {
    private let headers: UnsafeMutablePointer<UInt64>
    /// What is still to be received.
    var vectors = MemoryVectors(capacity: 2 * maximumLimit)

    /// How many records to guess.
    private(set) var limit = minimumLimit

    static let minimumLimit = 4
    static let maximumLimit = 256
    static let recordByteCount = RAMPageHeader.byteCount + pageSize

    init() { headers = .allocate(capacity: Self.maximumLimit) }

    deinit { headers.deallocate() }

    /// As many records as were guessed have come.
    func wasRight() { limit = min(limit * 2, Self.maximumLimit) }

    /// Something else has come.
    func wasWrong() { limit = max(limit / 4, Self.minimumLimit) }

    /// Puts the reader's bytes where they are guessed to belong, and makes pieces of the rest; false if they begin
    /// another record than the next.
    func begin(
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

    /// How many headers are whole of `byteCount` bytes of records.
    static func headerCount(byteCount: Int) -> Int {
        (byteCount + recordByteCount - RAMPageHeader.byteCount) / recordByteCount
    }

    /// Receives what is there of the pages from `offset` on, at most `pageCount` and `limit`, into `pages`; how many have
    /// come whole.
    ///
    /// - Precondition: `reader` holds less than a record.
    func receiveNow(
        _ pages: UnsafeMutableRawPointer, _ pageCount: Int, at offset: Int, _ reader: ChannelReader
    ) throws -> Int {
        let pageCount = min(pageCount, limit)
        guard begin(pages, pageCount, at: offset, reader) else { return 0 }
        let received: Int?
        do { received = try reader.channel.receive(now: &vectors) } catch { throw MigrationError.channel(error) }
        guard let received else { return 0 }
        let byteCount = reader.unreadByteCount + received
        reader.skip(reader.unreadByteCount)
        reader.count(received)
        if received == 0 { reader.markEnded() }
        let other = firstOther(from: 0, count: Self.headerCount(byteCount: byteCount), at: offset)
        let good = min(byteCount / Self.recordByteCount, other ?? pageCount)
        if good == limit { wasRight() } else if other != nil { wasWrong() }
        takeBack(pages, from: good, byteCount, reader)
        return good
    }

    /// The first of `count` records from `first` on whose header is not that of the page from `offset` on and as many
    /// behind; nil if there is none.
    func firstOther(from first: Int, count: Int, at offset: Int) -> Int? {
        (first..<count).first { headers[$0] != Self.header(at: offset + $0 * pageSize) }
    }

    /// Gives the reader the bytes from record `first` on, of `byteCount` that came.
    func takeBack(
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
