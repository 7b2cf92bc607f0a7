internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream

/// Receives page records straight into guest memory where a run of pages is likely to go on.
///
/// The next records are guessed to be the next pages of the run (`GuessedRecords`). Only pages that nothing has come for
/// yet are guessed. Where a header is another, what lies behind it is taken back into the reader's buffer, and the pages
/// become zero again.
final class RunReceiver {
    private let memory: ReceivedMemory
    private let records = GuessedRecords()

    init(memory: ReceivedMemory) { self.memory = memory }

    /// Receives pages of `region` from `offset` on, as long as the stream has the next one; how many.
    ///
    /// `reader` holds what was received of the first record behind the run.
    func receive(region: Int, from offset: Int, _ reader: ChannelReader) throws -> Int {
        var total = 0
        while true {
            let start = offset + total * pageSize
            let pageCount = memory.untouchedPageCount(region: region, offset: start, limit: records.limit)
            guard pageCount >= GuessedRecords.minimumLimit, reader.unreadByteCount < GuessedRecords.recordByteCount
            else {
                return total
            }
            let target = try memory.target(region: region, offset: start, pageCount: pageCount, marks: false)
            guard let pages = target.baseAddress, records.begin(pages, pageCount, at: start, reader) else {
                return total
            }
            let received = try receiveGuess(pageCount, at: start, reader)
            let good = min(received.goodPageCount, pageCount)
            _ = try memory.target(region: region, offset: start, pageCount: good)
            total += good
            if good == pageCount {
                records.wasRight()
                continue
            }
            records.takeBack(pages, from: good, received.byteCount, reader)
            let touched = (received.byteCount + GuessedRecords.recordByteCount - 1) / GuessedRecords.recordByteCount
            memory.forget(region: region, offset: start + good * pageSize, pageCount: touched - good)
            records.wasWrong()
            return total
        }
    }

    /// Receives the pieces until all are full, a header is another than guessed, or the stream ends.
    ///
    /// - Returns: How many records are as guessed and whole, and how many bytes came, with those that the reader had.
    private func receiveGuess(
        _ pageCount: Int, at offset: Int, _ reader: ChannelReader
    ) throws -> (goodPageCount: Int, byteCount: Int) {
        var byteCount = reader.unreadByteCount
        reader.skip(byteCount)
        var checked = GuessedRecords.headerCount(byteCount: byteCount)
        while byteCount < pageCount * GuessedRecords.recordByteCount {
            let count: Int
            do { count = try reader.channel.receive(some: &records.vectors) } catch {
                throw MigrationError.channel(error)
            }
            if count == 0 {
                reader.markEnded()
                return (byteCount / GuessedRecords.recordByteCount, byteCount)
            }
            byteCount += count
            reader.count(count)
            let headerCount = GuessedRecords.headerCount(byteCount: byteCount)
            if let other = records.firstOther(from: checked, count: headerCount, at: offset) {
                return (other, byteCount)
            }
            checked = headerCount
        }
        return (pageCount, byteCount)
    }
}
