/// Receives from a channel into a buffer, for decoders that want all unread bytes in one piece.
///
/// Used by one thread. The buffer grows to what a decoder asks for; the decoders bound that by their `StreamLimits`.
final class ChannelReader {
    let channel: any MigrationChannel
    private var buffer: UnsafeMutableRawBufferPointer
    private var start = 0
    private var end = 0
    /// Whether the peer has ended; there may still be unread bytes.
    private(set) var hasEnded = false

    /// All that was received.
    private var receivedByteCount = 0
    private var unreadLimit: (limit: UnreadLimit, runtime: any MigrationRuntime)?

    /// Received by one call where little is to stand before what comes next.
    private static let shortByteCount = 256 << 10

    init(channel: any MigrationChannel, capacity: Int) {
        self.channel = channel
        buffer = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit { buffer.deallocate() }

    /// The bytes received and not skipped, valid until the next refill.
    var unread: RawSpan {
        @_lifetime(borrow self) get {
            let bytes = UnsafeRawBufferPointer(rebasing: buffer[start..<end])
            return _overrideLifetime(bytes.bytes, borrowing: self)
        }
    }

    /// The same bytes, for copying them to where they belong.
    var unreadBytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[start..<end]) }

    var unreadByteCount: Int { end - start }

    func skip(_ count: Int) {
        precondition(count <= end - start, "\(count) of \(end - start) bytes")
        start += count
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Lets little stand in the link before what is sent next, from now on. To be called before much was received.
    func keepUnreadShort(_ runtime: any MigrationRuntime) {
        unreadLimit = (UnreadLimit(), runtime)
        count(0)
    }

    /// Somebody has received `byteCount` bytes by other means than `refill`.
    func count(_ byteCount: Int) {
        receivedByteCount += byteCount
        let channel = channel
        guard let runtime = unreadLimit?.runtime else { return }
        let limit = unreadLimit?.limit.next(byteCount: receivedByteCount, at: runtime.now()) {
            channel.leastRoundTrip
        }
        if let limit { channel.limitUnreadBytes(to: limit) }
    }

    /// Adds bytes that were received before, big-endian.
    func append(_ value: UInt32) {
        makeRoom(for: 4)
        buffer.storeBytes(of: value.bigEndian, toByteOffset: end, as: UInt32.self)
        end += 4
    }

    /// Adds bytes that were received by other means than `refill`.
    func append(copying bytes: UnsafeRawBufferPointer) {
        guard let from = bytes.baseAddress else { return }
        makeRoom(for: bytes.count)
        (buffer.baseAddress.unsafelyUnwrapped + end).copyMemory(from: from, byteCount: bytes.count)
        end += bytes.count
    }

    /// Somebody else received the end.
    func markEnded() { hasEnded = true }

    /// Receives at least `count` more bytes, or until the peer ends.
    func refill(atLeast count: Int) throws(MigrationError) {
        makeRoom(for: count)
        var received = 0
        while received < count && !hasEnded {
            let most = unreadLimit == nil ? Int.max : max(count - received, Self.shortByteCount)
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer[end...].prefix(most))
            let length: Int
            do { length = try channel.receive(into: room) } catch { throw .channel(error) }
            if length == 0 { hasEnded = true }
            end += length
            received += length
        }
        self.count(received)
    }

    private func makeRoom(for count: Int) {
        let unread = end - start
        if start > 0 && (start > buffer.count / 2 || buffer.count - end < count) {
            guard let base = buffer.baseAddress else { return }
            base.copyMemory(from: base + start, byteCount: unread)
            start = 0
            end = unread
        }
        if buffer.count - end >= count { return }
        let larger = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(unread + count, buffer.count * 2), alignment: 16)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[start..<end]))
        buffer.deallocate()
        buffer = larger
        start = 0
        end = unread
    }
}
