/// A request that the device has taken from a queue and not answered: QEMU sends its own structure as it lies in
/// memory, little-endian on every host that runs x86 guests fast.
///
/// offset   size  field
///      0      4  index of the first descriptor
///      4      4  segments that the device reads
///      8      4  segments that the device writes
///     12      4  padding
///     16   8192  guest addresses of the segments to write, 1024 of 8 bytes
///   8208   8192  guest addresses of the segments to read
///  16400  16384  1024 times a host address (without meaning) and a length in bytes, of segments to write
///  32784  16384  the same of segments to read
/// See QEMU hw/virtio/virtio.c, VirtQueueElementOld.
public struct VirtioRequest: Equatable, Sendable {
    public static let byteCount = 49168
    /// Segments that the structure has room for, in either direction.
    public static let segmentLimit = 1024

    public var bytes = [UInt8](repeating: 0, count: byteCount)

    /// A piece of guest memory.
    public struct Segment: Equatable, Sendable {
        public var address: UInt64
        public var byteCount: UInt64

        public init(address: UInt64, byteCount: UInt64) {
            self.address = address
            self.byteCount = byteCount
        }
    }

    public init() {}

    public init(index: UInt32, readable: [Segment], writable: [Segment]) {
        precondition(
            readable.count <= Self.segmentLimit && writable.count <= Self.segmentLimit,
            "\(readable.count) and \(writable.count) segments; at most \(Self.segmentLimit) of each")
        store(UInt64(index), at: 0, width: 4)
        store(UInt64(readable.count), at: 4, width: 4)
        store(UInt64(writable.count), at: 8, width: 4)
        for (index, segment) in writable.enumerated() {
            store(segment.address, at: 16 + 8 * index, width: 8)
            store(segment.byteCount, at: 16400 + 16 * index + 8, width: 8)
        }
        for (index, segment) in readable.enumerated() {
            store(segment.address, at: 8208 + 8 * index, width: 8)
            store(segment.byteCount, at: 32784 + 16 * index + 8, width: 8)
        }
    }

    /// The first descriptor of the chain.
    public var index: UInt32 { UInt32(load(at: 0, width: 4)) }

    /// What the device reads.
    public var readable: [Segment] { segments(count: load(at: 4, width: 4), addresses: 8208, lengths: 32784) }

    /// What the device writes.
    public var writable: [Segment] { segments(count: load(at: 8, width: 4), addresses: 16, lengths: 16400) }

    mutating func transfer(_ coder: inout StateCoder, _ name: String) throws(StateError) {
        try coder.buffer(name, &bytes, count: Self.byteCount)
        try coder.check(name + " segments to read", load(at: 4, width: 4), atMost: UInt64(Self.segmentLimit))
        try coder.check(name + " segments to write", load(at: 8, width: 4), atMost: UInt64(Self.segmentLimit))
    }

    private func segments(count: UInt64, addresses: Int, lengths: Int) -> [Segment] {
        (0..<min(Int(count), Self.segmentLimit)).map { index in
            Segment(
                address: load(at: addresses + 8 * index, width: 8),
                byteCount: load(at: lengths + 16 * index + 8, width: 8))
        }
    }

    private func load(at offset: Int, width: Int) -> UInt64 {
        (0..<width).reversed().reduce(0) { $0 << 8 | UInt64(bytes[offset + $1]) }
    }

    private mutating func store(_ value: UInt64, at offset: Int, width: Int) {
        for index in 0..<width { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
    }
}
