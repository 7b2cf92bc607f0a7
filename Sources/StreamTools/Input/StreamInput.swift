public import LinuxSystem

/// The bytes of a stream that are being read, from a file, a pipe or a socket.
///
/// It holds what has been read and not taken yet: at least `readByteCount`, and as much more as one element needs, so
/// memory does not grow with the stream.
public struct StreamInput: ~Copyable {
    /// What is tried to be read at once; a pipe is widened to it.
    public static let readByteCount = 1 << 20

    /// Told after each read how many bytes have been read, and of how many, if that is known.
    public typealias Report = (_ byteCount: Int, _ totalByteCount: Int?) -> Void

    /// What to call it in messages.
    public let name: String
    /// Whether nothing follows `unread`.
    public private(set) var hasEnded = false
    /// Bytes read so far.
    public private(set) var byteCount = 0
    /// The size of the file, if it is one.
    public let totalByteCount: Int?

    private let descriptor: OwnedDescriptor
    private let report: Report?
    /// Where all that is read is also written.
    private let record: OwnedDescriptor?
    /// `start..<end` is unread; `taken..<start` was taken since the last read and is still there.
    var storage: [UInt8]
    private(set) var taken = 0
    private(set) var start = 0
    private var end = 0

    /// Reads from `descriptor`; what is read is written to `record` as it came.
    public init(
        adopting descriptor: consuming OwnedDescriptor, name: String, bufferByteCount: Int = 2 * readByteCount,
        record: consuming OwnedDescriptor? = nil, report: Report? = nil
    ) {
        descriptor.widenPipe(to: Self.readByteCount)
        totalByteCount = descriptor.regularFileSize.map(Int.init)
        self.descriptor = descriptor
        self.name = name
        self.report = report
        self.record = record
        storage = [UInt8](repeating: 0, count: bufferByteCount)
    }

    /// Opens the file at `path`; `-` is standard input.
    public init(opening path: String, report: Report? = nil) throws(SystemError) {
        if path == "-" {
            self.init(adopting: OwnedDescriptor(adopting: 0), name: "standard input", report: report)
        } else {
            self.init(adopting: try OwnedDescriptor(opening: path, for: .reading), name: path, report: report)
        }
    }

    /// The bytes that were read and not taken.
    public var unread: RawSpan {
        @_lifetime(borrow self)
        get { storage.span.bytes.extracting(start..<end) }
    }

    /// How many bytes `unread` has.
    var unreadByteCount: Int { end - start }

    /// Takes the first `count` unread bytes. They stay where they are until the next `fill`.
    public mutating func take(_ count: Int) {
        precondition(count >= 0 && count <= end - start, "\(count) of \(end - start) unread bytes")
        start += count
    }

    /// The range of `storage` that was taken since the last `dropTaken`.
    var takenRange: Range<Int> { taken..<start }

    /// Forgets what was taken.
    mutating func dropTaken() { taken = start }

    /// Reads until at least `missing` more bytes are unread, or the input has ended. Forgets what was taken.
    public mutating func fill(atLeast missing: Int) throws(SystemError) {
        precondition(missing > 0, "nothing is missing")
        let wanted = end - start + missing
        makeRoom(for: missing)
        while end - start < wanted, !hasEnded {
            let count = try read()
            end += count
            byteCount += count
            hasEnded = count == 0
            report?(byteCount, totalByteCount)
        }
    }

    private mutating func makeRoom(for missing: Int) {
        taken = start
        if start == end {
            (taken, start, end) = (0, 0, 0)
        }
        guard storage.count - end < max(missing, storage.count / 2) else { return }
        let unreadByteCount = end - start
        if unreadByteCount + missing > storage.count {
            var larger = [UInt8](repeating: 0, count: max(2 * storage.count, unreadByteCount + missing))
            larger.replaceSubrange(0..<unreadByteCount, with: storage[start..<end])
            storage = larger
        } else if start > 0 {
            let range = start..<end
            storage.withUnsafeMutableBytes { bytes in
                // Both ranges are inside: memmove within one buffer.
                bytes.baseAddress?.copyMemory(
                    from: UnsafeRawPointer(bytes.baseAddress! + range.lowerBound), byteCount: range.count)
            }
        }
        (taken, start, end) = (0, 0, unreadByteCount)
    }

    private mutating func read() throws(SystemError) -> Int {
        let (first, limit) = (end, min(storage.count, end + Self.readByteCount))
        var failure: SystemError?
        let count = storage.withUnsafeMutableBytes { bytes in
            do throws(SystemError) {
                return try descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[first..<limit]))
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
        try record?.write(all: storage.span.bytes.extracting(first..<(first + count)))
        return count
    }
}
