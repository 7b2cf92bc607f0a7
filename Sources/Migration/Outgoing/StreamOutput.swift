internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream

/// How pages leave guest memory.
enum PageSending {
    /// The kernel copies them during the call.
    case copied
    /// By MSG_ZEROCOPY: the kernel reads them until it says that it has done so.
    case uncopied
    /// Lent to a process on this host, which reads them when it receives them.
    case lent
}

/// Gathers what goes over one channel and sends it in large pieces: own bytes from an arena, pages from where they lie.
///
/// Used by one thread. Bytes are on their way only after `flush`.
final class StreamOutput {
    private let channel: any MigrationChannel
    private let control: OutgoingControl
    private let isMultifd: Bool
    private var vectors: MemoryVectors
    private let arena: UnsafeMutableRawBufferPointer
    private var used = 0
    /// Bytes that have not been sent.
    var waitingByteCount: Int { vectors.byteCount }
    /// Whether sending waits for the bandwidth limit.
    var isLimited = true
    /// Whether the last flush failed before the channel took any byte.
    private(set) var hasFailedWhole = false

    init(channel: any MigrationChannel, control: OutgoingControl, isMultifd: Bool, arenaByteCount: Int = 256 << 10) {
        self.channel = channel
        self.control = control
        self.isMultifd = isMultifd
        vectors = MemoryVectors()
        arena = .allocate(byteCount: arenaByteCount, alignment: 16)
    }

    deinit { arena.deallocate() }

    /// Makes room for `byteCount` own bytes and `pieceCount` pieces, by sending what is there if need be.
    func reserve(byteCount: Int, pieceCount: Int = 1) throws {
        if arena.count - used < byteCount || vectors.room < pieceCount + 1 { try flush() }
        precondition(byteCount <= arena.count, "\(byteCount) bytes at once of \(arena.count)")
    }

    /// Where the next own bytes go; `advance` adds them once they are written.
    var free: UnsafeMutableRawPointer { arena.baseAddress.unsafelyUnwrapped + used }

    /// Adds the next `count` own bytes.
    @inline(__always)
    func advance(_ count: Int) {
        vectors.append(arena.baseAddress.unsafelyUnwrapped + used, count: count)
        used += count
    }

    /// Adds bytes that stay where they are until they are sent; there must be room.
    @inline(__always)
    func append(_ start: UnsafeMutableRawPointer, count: Int) { vectors.append(start, count: count) }

    /// Adds page records that continue their block, as many as there is room for; how many.
    ///
    /// `word` is the header of the first, at `pages`; the others follow in both. There must be room for one.
    func appendRecords(word: UInt64, pages: UnsafeMutableRawPointer, count: Int) -> Int {
        let fitting = min(count, (arena.count - used) / 8, (vectors.room - 1) / 2)
        let headers = free
        for index in 0..<fitting {
            let header = (word + UInt64(index * pageSize)).bigEndian
            headers.storeBytes(of: header, toByteOffset: index * 8, as: UInt64.self)
        }
        vectors.appendRecords(headers: headers, pages: pages, count: fitting)
        used += fitting * 8
        return fitting
    }

    /// Adds records of zero pages that continue their block, as many as there is room for; how many.
    func appendZeroRecords(word: UInt64, count: Int) -> Int {
        let fitting = min(count, (arena.count - used) / 9)
        let start = free
        for index in 0..<fitting {
            let record = start + index * 9
            record.storeBytes(of: (word + UInt64(index * pageSize)).bigEndian, as: UInt64.self)
            record.storeBytes(of: 0, toByteOffset: 8, as: UInt8.self)
        }
        advance(fitting * 9)
        return fitting
    }

    /// Adds own bytes written by `body`; there must be room for `byteCount`.
    func write(byteCount: Int, _ body: (inout StreamWriter) -> Void) throws {
        try reserve(byteCount: byteCount)
        let room = UnsafeMutableRawBufferPointer(start: free, count: byteCount)
        var writer = StreamWriter(room.mutableBytes)
        body(&writer)
        advance(writer.byteCount)
    }

    /// Adds a copy of `bytes`, whatever their length.
    func append(copying bytes: [UInt8]) throws {
        var start = 0
        while start < bytes.count {
            try reserve(byteCount: min(bytes.count - start, 64 << 10))
            let count = min(bytes.count - start, arena.count - used)
            bytes.withUnsafeBytes { source in
                free.copyMemory(from: source.baseAddress.unsafelyUnwrapped + start, byteCount: count)
            }
            advance(count)
            start += count
        }
    }

    /// Waits until the kernel reads no page any more that was sent without a copy; whether all were copied after all.
    func finishZeroCopy() throws -> Bool {
        do { return try channel.finishZeroCopy() } catch { throw MigrationError.channel(error) }
    }

    /// Sends what is there; copied if it is more than pages, because the place of own bytes is used again.
    func flush(_ sending: PageSending = .copied) throws {
        let byteCount = vectors.byteCount
        if byteCount == 0 { return }
        if isLimited { control.limiter.charge(byteCount, runtime: control.runtime, stop: control.stopGate) }
        do {
            let pressure =
                switch sending {
                case .copied: try channel.send(&vectors)
                case .uncopied: try channel.sendUncopied(&vectors)
                case .lent: try channel.sendLent(&vectors)
                }
            control.counters.addSend(byteCount: byteCount, isMultifd: isMultifd, pressure: pressure)
        } catch {
            hasFailedWhole = vectors.byteCount == byteCount
            vectors.removeAll()
            used = 0
            throw MigrationError.channel(error)
        }
        used = 0
    }
}
