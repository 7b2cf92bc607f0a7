internal import CLinux
internal import Glibc

/// A tap: a network interface of the host whose frames this process reads and writes.
///
/// Each frame has a virtio header of 12 bytes before it, so that checksums and segmentation can be left to the other
/// side. Reads and writes do not wait.
public struct TapDescriptor: ~Copyable, Sendable {
    /// The bytes before each frame: `struct virtio_net_hdr_v1`.
    public static let headerByteCount = 12

    /// What the reader of the tap can take unfinished.
    public struct Offloads: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        public static let checksum = Offloads(rawValue: UInt32(CLINUX_TAP_CSUM))
        public static let tcp4 = Offloads(rawValue: UInt32(CLINUX_TAP_TSO4))
        public static let tcp6 = Offloads(rawValue: UInt32(CLINUX_TAP_TSO6))
        public static let ecn = Offloads(rawValue: UInt32(CLINUX_TAP_ECN))
        public static let udp = Offloads(rawValue: UInt32(CLINUX_TAP_UFO))
    }

    public let descriptor: OwnedDescriptor

    /// Attaches to the tap called `name`, which exists.
    ///
    /// - Throws: ENODEV when there is no such interface, EPERM when it is not this user's, EBUSY when it is taken, EINVAL
    ///   when it is no tap.
    public init(name: String) throws(SystemError) {
        let number = try check(clinux_tap_open(name), "open tap", name)
        try self.init(adopting: OwnedDescriptor(adopting: number), name: name)
    }

    /// Takes over a descriptor of a tap with virtio headers, opened by someone else.
    public init(adopting descriptor: consuming OwnedDescriptor, name: String) throws(SystemError) {
        _ = try check(
            clinux_tap_set_header_length(descriptor.number, Int32(Self.headerByteCount)), "TUNSETVNETHDRSZ", name)
        self.descriptor = descriptor
    }

    /// Says which frames may come unfinished. Refused as a whole if the kernel does not know one of them.
    public func setOffloads(_ offloads: Offloads) throws(SystemError) {
        _ = try check(clinux_tap_set_offload(descriptor.number, offloads.rawValue), "TUNSETOFFLOAD")
    }

    /// Reads one frame with its header into `buffers`; nil when none is there.
    public func read(into buffers: [UnsafeMutableRawBufferPointer]) throws(SystemError) -> Int? {
        let vectors = buffers.map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
        let count = clinux_readv(descriptor.number, vectors, Int32(min(vectors.count, 1024)))
        if count == -Int(EAGAIN) { return nil }
        return try check(count, "read tap")
    }

    /// Writes one frame with its header; false when the interface's queue is full and the frame is lost.
    public func write(_ buffers: [UnsafeMutableRawBufferPointer]) throws(SystemError) -> Bool {
        let vectors = buffers.map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
        let count = clinux_writev(descriptor.number, vectors, Int32(min(vectors.count, 1024)))
        if count == -Int(EAGAIN) { return false }
        _ = try check(count, "write tap")
        return true
    }
}
