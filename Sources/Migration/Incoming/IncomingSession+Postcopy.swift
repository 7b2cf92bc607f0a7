internal import GuestMemory
internal import MigrationStream

/// What a destination has made ready for post-copy, from the source's advice on.
final class PostcopyLoading {
    let missing: any MissingMemory
    let answers: AnswerQueue
    /// From LISTEN on.
    var receiver: PostcopyReceiver?
    /// Whether all devices are loaded and the disks are ours.
    var isReady = false
    var wasRunning = false
    /// Whether the source has said that the guest is to run.
    var hasRun = false

    init(missing: any MissingMemory, answers: AnswerQueue) {
        self.missing = missing
        self.answers = answers
    }
}

extension IncomingSession {
    /// The source may go over to post-copy: this side must be able to.
    func prepare(for advice: PostcopyAdvice) throws {
        guard hasReturnPath, let channel else {
            throw MigrationError.unexpected("an advice of post-copy on a connection without a return path")
        }
        let missing = try machine.makeMissingMemory()
        let sizes = machine.regions.indices.reduce(UInt64(0)) {
            $0 | UInt64(missing.unitPageCount(of: $1) * pageSize)
        }
        guard advice.pageSizeSummary == sizes, advice.targetPageByteCount == UInt64(pageSize) else {
            throw MigrationError.postcopyImpossible(
                "The host's pages have \(sizes) bytes here and \(advice.pageSizeSummary) at the source (sizes added up); "
                    + "post-copy needs the same huge pages on both sides.")
        }
        reader?.keepUnreadShort(migration.runtime)
        postcopy = PostcopyLoading(missing: missing, answers: AnswerQueue(channel: channel))
        // For faults, for pages, and for the guest's start.
        migration.runtime.prepareThreads(3)
    }

    /// Drops pages of which the source has newer ones.
    func forget(_ discard: RAMDiscard) throws {
        guard let postcopy, postcopy.receiver == nil else {
            throw MigrationError.unexpected("a discard without an advice of post-copy")
        }
        guard let region = memory.region(named: discard.block) else {
            throw MigrationError.unknownBlock(discard.block)
        }
        let unit = UInt64(postcopy.missing.unitPageCount(of: region) * pageSize)
        for range in discard.ranges {
            let end = range.blockOffset.addingReportingOverflow(range.byteCount)
            guard !end.overflow, end.partialValue <= UInt64(memory.block(region).byteCount),
                range.blockOffset % unit == 0, range.byteCount % unit == 0
            else {
                throw MigrationError.unexpected(
                    "a discard of \(range.byteCount) bytes at \(range.blockOffset) of RAM block \(discard.block), which "
                        + "has \(memory.block(region).byteCount) bytes in pages of \(unit)")
            }
            let pages = PageRange(
                first: PageIndex(Int(range.blockOffset) / pageSize), pageCount: Int(range.byteCount) / pageSize)
            try postcopy.missing.forget(region: region, pages)
            memory.drop(region: region, pages)
        }
    }

    /// Executes a package; `reader` is where the main channel goes on, with pages.
    func loadPackage(_ package: [UInt8], _ reader: ChannelReader) throws {
        guard let postcopy else { throw MigrationError.unexpected("a package without an advice of post-copy") }
        var nested = decoder.packageDecoder(offset: 0)
        try package.withUnsafeBytes { bytes in
            var start = 0
            while true {
                let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
                let step: StreamStep
                do throws(StreamError) { step = try nested.next(in: rest.bytes, ended: true) } catch {
                    throw MigrationError.stream(error, address: reader.channel.address)
                }
                switch step {
                case .finished, .needsMore: return
                case .element(.command(let command), let byteCount):
                    start += byteCount
                    try perform(inPackage: command, postcopy, reader)
                case .element(let element, let byteCount):
                    _ = try load(element, nested.deviceState, in: rest)
                    start += byteCount
                }
            }
        }
        guard postcopy.hasRun else { throw MigrationError.unexpected("a package that does not let the guest run") }
    }

    private func perform(inPackage command: StreamCommand, _ postcopy: PostcopyLoading, _ reader: ChannelReader) throws
    {
        switch command {
        case .postcopyListen:
            guard postcopy.receiver == nil else { throw MigrationError.unexpected("a second LISTEN") }
            let pageCounts = streamedPageCounts
            for (region, count) in pageCounts.enumerated() { memory.expectOnly(pageCount: count, of: region) }
            // The migration has the receiver: were that so the other way round, too, neither would ever be freed.
            let receiver = try PostcopyReceiver(
                memory: memory, pageCounts: pageCounts, missing: postcopy.missing, answers: postcopy.answers,
                regions: regions, decoder: decoder, hasUrgentChannel: connections.expectsUrgent,
                runtime: migration.runtime,
                onResumed: { [weak migration] in migration?.recovered() })
            postcopy.receiver = receiver
            migration.setReceiver(receiver)
            try receiver.listen(reader)
            migration.admitUrgentPages()
            migration.enter(.postcopyActive)
        case .ping(let value):
            // The source gives the guest up for good when it has this answer, so everything that can fail comes before.
            try makeReady(postcopy)
            postcopy.answers.send(.pong(value))
        case .postcopyRun:
            guard postcopy.receiver != nil else { throw MigrationError.unexpected("a RUN before LISTEN") }
            try makeReady(postcopy)
            postcopy.hasRun = true
        default: try perform(command)
        }
    }

    /// How many pages of each region the stream holds: none of memory that only some peers have.
    private var streamedPageCounts: [Int] {
        var counts = [Int](repeating: 0, count: memory.count)
        for (index, region) in regions.enumerated() {
            counts[region] = (decoder.blocks[RAMBlockID(index)].usedByteCount ?? 0) / pageSize
        }
        return counts
    }

    private func makeReady(_ postcopy: PostcopyLoading) throws {
        if postcopy.isReady { return }
        postcopy.wasRunning = try machine.finishLoading()
        try postcopy.receiver?.becomeReady()
        // A source that lost the link may try to get the disks back: who has them has the guest.
        try takeDisks()
        postcopy.isReady = true
    }

    /// After a failure before the guest ran: lets the source read the answer, as `drain` does.
    func drain(_ receiver: PostcopyReceiver, _ channel: any MigrationChannel) {
        receiver.abandon()
        cutOff(channel) { receiver.joinLink() }
        receiver.end()
    }
}
