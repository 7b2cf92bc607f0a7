internal import CLinux
internal import Glibc

/// Pieces of memory that one system call sends or fills, in order.
///
/// A fixed room for `capacity` pieces is allocated once; adding a piece that begins where the last one ends makes that
/// one longer. The memory must stay valid, and where it is until the call is over, which the caller answers for.
public struct MemoryVectors: ~Copyable {
    private let vectors: UnsafeMutablePointer<iovec>
    /// How many pieces there is room for.
    public let capacity: Int
    private var first = 0
    private var end = 0
    /// Bytes in all pieces together.
    public private(set) var byteCount = 0

    /// The most pieces the kernel takes in one call.
    public static let maximumCapacity = 1024

    public init(capacity: Int = MemoryVectors.maximumCapacity) {
        precondition(capacity > 0 && capacity <= Self.maximumCapacity, "room for \(capacity) pieces")
        vectors = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { vectors.deallocate() }

    /// How many pieces there are.
    public var count: Int { end - first }
    public var isEmpty: Bool { byteCount == 0 }

    /// How many more pieces there is room for.
    public var room: Int { capacity - end }

    /// Adds a piece at the end.
    ///
    /// - Precondition: there is room.
    @inline(__always)
    public mutating func append(_ start: UnsafeMutableRawPointer, count: Int) {
        if count == 0 { return }
        if end > first, vectors[end - 1].iov_base.map({ $0 + vectors[end - 1].iov_len }) == start {
            vectors[end - 1].iov_len += count
        } else {
            precondition(end < capacity, "more than \(capacity) pieces")
            vectors[end] = iovec(iov_base: start, iov_len: count)
            end += 1
        }
        byteCount += count
    }

    /// Adds `count` records, each a header of 8 bytes and a page of 4 KiB: headers and pages each lie one after another.
    ///
    /// - Precondition: there is room for twice as many pieces.
    public mutating func appendRecords(headers: UnsafeMutableRawPointer, pages: UnsafeMutableRawPointer, count: Int) {
        precondition(end + 2 * count <= capacity, "\(2 * count) pieces more than \(capacity - end)")
        var next = vectors + end
        for index in 0..<count {
            next[0] = iovec(iov_base: headers + index * 8, iov_len: 8)
            next[1] = iovec(iov_base: pages + index * 4096, iov_len: 4096)
            next += 2
        }
        end += 2 * count
        byteCount += count * (8 + 4096)
    }

    /// Adds a piece at the end that will only be read.
    public mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        append(UnsafeMutableRawPointer(mutating: start), count: bytes.count)
    }

    /// Forgets all pieces.
    public mutating func removeAll() {
        first = 0
        end = 0
        byteCount = 0
    }

    /// Forgets the first `count` bytes: they are done.
    public mutating func removeFirst(_ count: Int) {
        precondition(count <= byteCount, "\(count) of \(byteCount) bytes")
        byteCount -= count
        var rest = count
        while rest > 0 {
            let length = vectors[first].iov_len
            if rest < length {
                vectors[first].iov_base += rest
                vectors[first].iov_len -= rest
                return
            }
            rest -= length
            first += 1
        }
        if byteCount == 0 { removeAll() }
    }

    /// Piece `index`, for channels that are no descriptors.
    public func piece(_ index: Int) -> UnsafeMutableRawBufferPointer {
        precondition(index >= 0 && index < count, "piece \(index) of \(count)")
        return UnsafeMutableRawBufferPointer(
            start: vectors[first + index].iov_base, count: vectors[first + index].iov_len)
    }

    /// The pieces as the kernel takes them.
    var pieces: UnsafeMutablePointer<iovec> { vectors + first }
}
