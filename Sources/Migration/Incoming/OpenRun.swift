internal import GuestMemory
internal import MigrationStream

/// Pages of a post-copy that are likely to come next: those behind the ones that came last.
struct OpenRun {
    private let lane: PostcopyReceivingLane
    private let region: Int
    private var next: Int
    /// Pages of the region that the stream can have.
    private let end: Int

    /// Nil behind anything but pages that `lane` receives into their room.
    ///
    /// - Parameters:
    ///   - regions: The region of each block of the stream's list.
    ///   - pageCounts: How many pages of each region the stream holds.
    init?(behind element: StreamElement, _ lane: PostcopyReceivingLane, regions: [Int], pageCounts: [Int]) {
        guard case .pages(let run) = element, case .plain = run.content else { return nil }
        region = regions[run.block.index]
        guard lane.receivesIntoRoom(region) else { return nil }
        self.lane = lane
        next = run.endOffset / pageSize
        end = pageCounts[region]
    }

    /// Receives what is there of the run, as long as `isWanted`; whether anything was received.
    mutating func receive(
        _ records: GuessedRecords, _ reader: ChannelReader, _ decoder: inout StreamDecoder, while isWanted: () -> Bool
    ) throws -> Bool {
        let start = next
        while reader.unreadByteCount < GuessedRecords.recordByteCount, !reader.hasEnded, isWanted() {
            let before = reader.unreadByteCount
            let count = try lane.receiveNow(region: region, from: next, to: end, records, reader)
            if count == 0 { return next != start || reader.unreadByteCount != before }
            decoder.passOver(pageCount: count)
            next += count
        }
        return next != start
    }
}
