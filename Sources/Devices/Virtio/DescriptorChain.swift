public import GuestMemory

/// One request of the driver: buffers the device reads, then buffers it writes, each checked to be guest memory.
public struct DescriptorChain: Sendable {
    /// The first descriptor's number, by which the request is given back.
    public let head: UInt16
    /// The queue it came from.
    public let queue: Int
    public internal(set) var readable: [GuestMemorySlice] = []
    public internal(set) var writable: [GuestMemorySlice] = []

    init(head: UInt16, queue: Int) {
        self.head = head
        self.queue = queue
    }

    public var readableByteCount: Int { readable.reduce(0) { $0 + $1.byteCount } }
    public var writableByteCount: Int { writable.reduce(0) { $0 + $1.byteCount } }

    /// Copies out of the readable buffers, from `offset` on; as many bytes as there are, up to `count`.
    public func read(from offset: Int = 0, count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for slice in Self.slices(of: readable, from: offset, count: count) { bytes.append(contentsOf: slice.bytes) }
        return bytes
    }

    /// Copies `bytes` into the writable buffers, from `offset` on; how many found room.
    @discardableResult
    public func write(_ bytes: [UInt8], at offset: Int = 0) -> Int {
        var done = 0
        bytes.withUnsafeBytes { source in
            for slice in Self.slices(of: writable, from: offset, count: source.count) {
                let part = UnsafeRawBufferPointer(rebasing: source[done..<done + slice.byteCount])
                slice.block.write(part, at: slice.blockOffset)
                done += slice.byteCount
            }
        }
        return done
    }

    /// The parts of the readable buffers that hold the bytes from `offset` on, at most `count` of them.
    public func readable(from offset: Int, count: Int = .max) -> [GuestMemorySlice] {
        Self.slices(of: readable, from: offset, count: count)
    }

    /// The parts of the writable buffers that hold the bytes from `offset` on, at most `count` of them.
    public func writable(from offset: Int, count: Int = .max) -> [GuestMemorySlice] {
        Self.slices(of: writable, from: offset, count: count)
    }

    private static func slices(of slices: [GuestMemorySlice], from offset: Int, count: Int) -> [GuestMemorySlice] {
        var parts: [GuestMemorySlice] = []
        var skip = offset
        var rest = count
        for slice in slices where rest > 0 {
            if skip >= slice.byteCount {
                skip -= slice.byteCount
                continue
            }
            let part = slice.part(from: skip, count: rest)
            skip = 0
            rest -= part.byteCount
            parts.append(part)
        }
        return parts
    }
}
