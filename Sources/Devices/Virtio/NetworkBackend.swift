public import GuestMemory
public import LinuxSystem

/// The host's side of a network card: frames with a virtio header of 12 bytes before each.
///
/// Called on the card's thread; nothing waits.
public protocol NetworkBackend: AnyObject, Sendable {
    /// Becomes readable when a frame has come.
    var descriptorNumber: Int32 { get }
    /// Whether frames may be sent, and come, with checksums and segmentation left to the other side.
    var hasOffloads: Bool { get }

    /// Reads one frame with its header; nil when none is there.
    func readFrame(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int?
    /// Sends one frame with its header; false when it was lost because the host's queue is full.
    func writeFrame(_ slices: [GuestMemorySlice]) throws(SystemError) -> Bool
    /// Sends one frame of the host's own, without offloads, behind a header of zeros.
    func writeFrame(_ bytes: [UInt8]) throws(SystemError) -> Bool
    /// Says which frames may come unfinished.
    func setOffloads(_ offloads: TapDescriptor.Offloads) throws(SystemError)
}

/// A tap of the host.
public final class TapBackend: NetworkBackend {
    public let hasOffloads: Bool
    private let tap: TapDescriptor

    /// Takes the tap over.
    public init(_ tap: consuming TapDescriptor) {
        hasOffloads = (try? tap.setOffloads([.checksum, .tcp4, .tcp6, .ecn, .udp])) != nil
        // Frames come finished until the guest's driver says that it can do it itself.
        try? tap.setOffloads([])
        self.tap = tap
    }

    public var descriptorNumber: Int32 { tap.descriptor.number }

    public func readFrame(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int? {
        try tap.read(into: [buffer])
    }

    public func writeFrame(_ slices: [GuestMemorySlice]) throws(SystemError) -> Bool {
        try tap.write(slices.map(\.bytes))
    }

    public func writeFrame(_ bytes: [UInt8]) throws(SystemError) -> Bool {
        var frame = [UInt8](repeating: 0, count: TapDescriptor.headerByteCount) + bytes
        var result: Result<Bool, SystemError> = .success(false)
        frame.withUnsafeMutableBytes { buffer in
            do throws(SystemError) { result = .success(try tap.write([buffer])) } catch { result = .failure(error) }
        }
        return try result.get()
    }

    public func setOffloads(_ offloads: TapDescriptor.Offloads) throws(SystemError) { try tap.setOffloads(offloads) }
}
