internal import GuestMemory
internal import Synchronization

/// Puts the pages of one channel into place, many at once.
///
/// Pages that follow one another are staged until their chunk is full or another one begins. Who waits for a page that
/// is staged gets it at once: the fault thread has it installed. A chunk of which nothing was there waits to be complete,
/// because then it is put into place in one go; of any other what has arrived is installed when nothing more has.
final class PostcopyReceivingLane: Sendable {
    private let memory: ReceivedMemory
    private let installer: any PageInstaller
    private let units: [Int]
    private let chunkPageCounts: [Int]
    /// Regions whose pages may be received straight into their room: what is guessed may be wrong, so nobody may see it,
    /// and a part of a huge page cannot be put into place.
    private let receivesIntoRoom: [Bool]
    private let isWanted: @Sendable (_ region: Int, _ range: PageRange) -> Bool
    private let onInstalled: @Sendable (_ region: Int, _ range: PageRange) -> Void
    private let staged = Mutex<Staged?>(nil)
    /// Somebody has begun to wait for a page and could not look whether it is staged.
    private let isCalled = Atomic(false)
    /// The chunk in which pages were staged last, as `key` has it; 0 before the first. It is written before it is looked
    /// whether anybody waits for the page to be staged: who begins to wait sees the chunk, or is seen.
    private let stagedKey = Atomic(0)

    /// Pages that lie in their room.
    private struct Staged {
        var region: Int
        /// The pages of the chunk that they are in.
        var chunk: Range<Int>
        var range: Range<Int>
        var isWhole: Bool
    }

    /// Zero pages between others that are staged as bytes rather than put into place by themselves.
    private static let stagedZeroLimit = 32

    /// - Parameters:
    ///   - isWanted: Whether somebody waits for one of these pages.
    ///   - onInstalled: Called by the thread that installed them.
    init(
        memory: ReceivedMemory, missing: any MissingMemory,
        isWanted: @escaping @Sendable (_ region: Int, _ range: PageRange) -> Bool,
        onInstalled: @escaping @Sendable (_ region: Int, _ range: PageRange) -> Void
    ) throws {
        self.memory = memory
        let installer = try missing.makeInstaller()
        self.installer = installer
        units = (0..<memory.count).map { missing.unitPageCount(of: $0) }
        chunkPageCounts = (0..<memory.count).map { missing.chunkPageCount(of: $0) }
        receivesIntoRoom = (0..<memory.count).map {
            missing.unitPageCount(of: $0) == 1 && installer.hasOwnRoom(region: $0)
        }
        self.isWanted = isWanted
        self.onInstalled = onInstalled
    }

    /// Takes in pages whose bytes lie `stride` apart from `source` on.
    func add(region: Int, offset: Int, pageCount: Int, from source: UnsafeRawPointer, stride: Int) throws {
        try memory.checkBounds(region: region, offset: offset, pageCount: pageCount)
        var from = source
        var page = offset / pageSize
        let end = page + pageCount
        while page < end {
            let count = try stage(region: region, from: page, to: end) { room, count in
                for index in 0..<count {
                    (room + index * pageSize).copyMemory(from: from + index * stride, byteCount: pageSize)
                }
                return count
            }
            from += count * stride
            page += count
        }
    }

    /// Whether `receiveNow` can be used for `region`.
    func receivesIntoRoom(_ region: Int) -> Bool { receivesIntoRoom[region] }

    /// Receives what is there of the pages of `region` from page `first` up to `end` straight into the room of their chunk,
    /// if what comes next on the channel is these pages; how many have come.
    ///
    /// - Precondition: `receivesIntoRoom(region)`, and `reader` holds less than a record.
    func receiveNow(
        region: Int, from first: Int, to end: Int, _ records: GuessedRecords, _ reader: ChannelReader
    ) throws -> Int {
        if first >= end { return 0 }
        return try stage(region: region, from: first, to: min(end, first + records.limit)) { room, count in
            try records.receiveNow(room, count, at: first * pageSize, reader)
        }
    }

    /// Takes in pages of zeros.
    func addZeros(region: Int, offset: Int, pageCount: Int) throws {
        try memory.checkBounds(region: region, offset: offset, pageCount: pageCount)
        var page = offset / pageSize
        let end = page + pageCount
        let follows = staged.withLock { staged in
            staged.map { $0.isWhole && $0.region == region && $0.range.upperBound == page } ?? false
        }
        if units[region] == 1 && !(follows && pageCount <= Self.stagedZeroLimit) {
            try receiving { staged in
                if let pages = staged, pages.region == region, pages.range.overlaps(page..<end) {
                    try installAll(&staged)
                }
                let range = PageRange(first: PageIndex(page), pageCount: pageCount)
                try installer.installZeros(region: region, range)
                onInstalled(region, range)
            }
            return
        }
        while page < end {
            let count = try stage(region: region, from: page, to: end) { room, count in
                room.initializeMemory(as: UInt8.self, repeating: 0, count: count * pageSize)
                return count
            }
            page += count
        }
    }

    /// Nothing more has arrived for now: what need not wait for more is put into place.
    func flush() throws {
        try receiving { staged in
            if staged?.isWhole == false { try installAll(&staged) }
        }
    }

    /// Nothing more will come: everything is put into place.
    func finish() throws { try receiving { try installAll(&$0) } }

    /// Puts `page`, for which somebody is known to wait, into place if it is staged; whether it was.
    ///
    /// Does not wait while the receiving thread puts other pages into place: that looks again when it is done.
    func installIfStaged(region: Int, page: Int) throws -> Bool {
        // Nearly always it is in another chunk, and then the lock need not be tried, for which the kernel is asked.
        if stagedKey.load(ordering: .sequentiallyConsistent) != key(chunk(of: page, in: region), in: region) {
            return false
        }
        isCalled.store(true, ordering: .sequentiallyConsistent)
        return try staged.withLockIfAvailable { staged in
            guard let pages = staged, pages.region == region, pages.range.contains(page) else { return false }
            try installAll(&staged)
            return staged == nil
        } ?? false
    }

    /// What the receiving thread does; if somebody has called meanwhile, puts into place what is waited for.
    private func receiving<Value>(_ body: (inout Staged?) throws -> Value) throws -> Value {
        let value = try staged.withLock { try body(&$0) }
        while isCalled.load(ordering: .sequentiallyConsistent) {
            isCalled.store(false, ordering: .sequentiallyConsistent)
            try staged.withLock { staged in
                guard let pages = staged else { return }
                let range = PageRange(first: PageIndex(pages.range.lowerBound), pageCount: pages.range.count)
                if isWanted(pages.region, range) { try installAll(&staged) }
            }
        }
        return value
    }

    /// Nothing follows: whole pages are put into place, and the part of a huge page is forgotten.
    func close() {
        staged.withLock { staged in
            // A page that cannot be put into place now is missing, and will be asked for on the next link.
            try? installAll(&staged)
            staged = nil
        }
    }

    /// Has pages from `first` on put into the room of their chunk, as far as that goes; how many.
    ///
    /// `fill` gets the room and how many pages go there, and says how many it has put there.
    private func stage(
        region: Int, from first: Int, to end: Int, fill: (UnsafeMutableRawPointer, Int) throws -> Int
    ) throws -> Int {
        try receiving { staged in
            let chunk = chunk(of: first, in: region)
            let count = min(end, chunk.upperBound) - first
            if let pages = staged, pages.region != region || pages.chunk != chunk || pages.range.upperBound != first {
                try installAll(&staged)
                if let left = staged {
                    throw MigrationError.unexpected(
                        "page \(first) of RAM block \(memory.block(region).name) within the huge page at "
                            + "\(left.range.lowerBound)")
                }
            }
            let range = PageRange(first: PageIndex(first), pageCount: count)
            stagedKey.store(key(chunk, in: region), ordering: .sequentiallyConsistent)
            let isWanted = isWanted(region, range)
            var pages =
                staged
                ?? Staged(
                    region: region, chunk: chunk, range: first..<first,
                    isWhole: !isWanted && memory.isMissing(region: region, chunk))
            let room = try installer.room(region: region, range, isWhole: pages.isWhole)
            guard let start = room.baseAddress, room.count == range.byteCount else {
                preconditionFailure("\(room.count) bytes of room for \(range.byteCount)")
            }
            let filled = try fill(start, count)
            if filled == 0 { return 0 }
            pages.range = pages.range.lowerBound..<first + filled
            staged = pages
            if isWanted || pages.range.upperBound == chunk.upperBound { try installAll(&staged) }
            return filled
        }
    }

    private func chunk(of page: Int, in region: Int) -> Range<Int> {
        let size = chunkPageCounts[region]
        let start = page / size * size
        return start..<min(start + size, memory.block(region).pageCount)
    }

    private func key(_ chunk: Range<Int>, in region: Int) -> Int { (region + 1) << 40 | chunk.lowerBound }

    /// Installs what is staged; a part of a huge page stays.
    private func installAll(_ staged: inout Staged?) throws {
        guard let pages = staged else { return }
        if units[pages.region] > 1 && pages.range != pages.chunk { return }
        staged = nil
        let range = PageRange(first: PageIndex(pages.range.lowerBound), pageCount: pages.range.count)
        try installer.install(region: pages.region, range)
        onInstalled(pages.region, range)
    }
}
