internal import CLinux
internal import Glibc

extension Socket {
    /// What came in one call: how many bytes, and the descriptors that travelled with them.
    public struct Received: Sendable {
        /// 0 when the peer has ended.
        public let byteCount: Int
        /// In the order they were sent; the receiver owns them and closes those it does not keep.
        public let descriptors: [Int32]
        /// More descriptors came than the kernel or the caller had room for; the surplus was closed.
        public let lostDescriptors: Bool
    }

    /// Sends all of `bytes` over a UNIX socket, `descriptors` with the first of them.
    ///
    /// The descriptors stay open here. At least one byte, at most 64 descriptors.
    public func send(all bytes: UnsafeRawBufferPointer, descriptors: [Int32]) throws(SystemError) {
        precondition(bytes.count > 0, "descriptors travel with at least one byte")
        let first = try check(
            clinux_send_descriptors(
                descriptor.number, bytes.baseAddress, bytes.count, descriptors, Int32(descriptors.count)), "sendmsg")
        if first < bytes.count { try send(all: UnsafeRawBufferPointer(rebasing: bytes[first...])) }
    }

    /// Receives bytes and the descriptors sent with them, close-on-exec; descriptors beyond `maximumCount` are closed.
    public func receiveWithDescriptors(
        into buffer: UnsafeMutableRawBufferPointer, maximumCount: Int = 16
    ) throws(SystemError) -> Received {
        var numbers = [Int32](repeating: -1, count: maximumCount)
        var count = Int32(maximumCount)
        var truncated: Int32 = 0
        let length = clinux_receive_descriptors(
            descriptor.number, buffer.baseAddress, buffer.count, 0, &numbers, &count, &truncated)
        return Received(
            byteCount: try check(length, "recvmsg"), descriptors: Array(numbers.prefix(Int(count))),
            lostDescriptors: truncated != 0)
    }

    /// Two connected UNIX sockets.
    public static func pair() throws(SystemError) -> SocketPair {
        var numbers: [Int32] = [-1, -1]
        _ = try check(clinux_unix_socket_pair(&numbers), "socketpair")
        return SocketPair(
            first: Socket(adopting: OwnedDescriptor(adopting: numbers[0])),
            second: Socket(adopting: OwnedDescriptor(adopting: numbers[1])))
    }
}

/// Two sockets connected to each other.
public struct SocketPair: ~Copyable, Sendable {
    public let first: Socket
    public let second: Socket

    init(first: consuming Socket, second: consuming Socket) {
        self.first = first
        self.second = second
    }
}
