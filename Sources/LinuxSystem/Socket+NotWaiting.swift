internal import CLinux
internal import Glibc

/// Sending and receiving that never waits, for a thread that serves many sockets.
extension Socket {
    /// What had arrived.
    public struct Arrival: Sendable {
        /// Empty when the peer has ended.
        public let bytes: [UInt8]
        /// Came with the last of `bytes`, not with one before it.
        public let descriptors: [PassedDescriptor]
    }

    /// Takes what has arrived, at most `maximumCount` bytes; nil when nothing has.
    ///
    /// Bytes that came with descriptors are not joined with bytes that came before, so it stays known what the
    /// descriptors belong to: the kernel hands them over with the first byte of the message they were sent with, and
    /// bytes are taken singly up to that one. A connection that was reset reads as ended.
    public func receiveArrived(maximumCount: Int = 4096) throws(SystemError) -> Arrival? {
        var bytes = [UInt8](repeating: 0, count: maximumCount)
        var hasDescriptors: Int32 = 0
        let ready = bytes.withUnsafeMutableBytes {
            clinux_peek_messages(descriptor.number, $0.baseAddress, $0.count, &hasDescriptors)
        }
        if ready == -Int(EAGAIN) { return nil }
        if ready == -Int(ECONNRESET) { return Arrival(bytes: [], descriptors: []) }
        let count = try check(ready, "recvmsg")
        if hasDescriptors == 0 {
            // Nobody else reads here, so the same bytes come again.
            _ = try take(count, of: &bytes, at: 0)
            return Arrival(bytes: Array(bytes.prefix(count)), descriptors: [])
        }
        for index in 0..<count {
            let descriptors = try take(1, of: &bytes, at: index)
            if !descriptors.isEmpty {
                return Arrival(bytes: Array(bytes.prefix(index + 1)), descriptors: descriptors)
            }
        }
        return Arrival(bytes: Array(bytes.prefix(count)), descriptors: [])
    }

    /// Makes every call on this socket fail where it would wait.
    public func setNotWaiting() throws(SystemError) {
        _ = try check(clinux_set_nonblocking(descriptor.number, 1), "fcntl")
    }

    /// Sends as much of `bytes` as fits into the socket's buffer, and `descriptors` with the first; returns how much.
    ///
    /// Only after `setNotWaiting`.
    ///
    /// - Throws: EPIPE or ECONNRESET when the peer is gone.
    public func sendWhatFits(_ bytes: ArraySlice<UInt8>, descriptors: [Int32] = []) throws(SystemError) -> Int {
        let sent = bytes.withUnsafeBytes { bytes in
            descriptors.isEmpty
                ? clinux_send(descriptor.number, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT))
                : clinux_send_descriptors(
                    descriptor.number, bytes.baseAddress, bytes.count, descriptors, Int32(descriptors.count))
        }
        return sent == -Int(EAGAIN) ? 0 : try check(sent, "send")
    }

    private func take(
        _ count: Int, of bytes: inout [UInt8], at offset: Int
    ) throws(SystemError) -> [PassedDescriptor] {
        var numbers = [Int32](repeating: -1, count: 16)
        var descriptorCount = Int32(numbers.count)
        var truncated: Int32 = 0
        let taken = bytes.withUnsafeMutableBytes {
            clinux_receive_descriptors(
                descriptor.number, $0.baseAddress.map { $0 + offset }, count, Int32(MSG_DONTWAIT), &numbers,
                &descriptorCount, &truncated)
        }
        let length = try check(taken, "recvmsg")
        precondition(length == count, "\(length) bytes came of \(count) that were there")
        return numbers.prefix(Int(descriptorCount)).map { PassedDescriptor(OwnedDescriptor(adopting: $0)) }
    }
}

extension ListeningSocket {
    /// Listens on the UNIX path, from which a socket that nobody listens on any more is removed first.
    ///
    /// - Throws: EADDRINUSE when somebody does listen there, EEXIST when the path is no socket.
    public init(replacingStaleSocketAt path: String) throws(SystemError) {
        do throws(SystemError) {
            _ = try Socket(connectingTo: .unix(path: path))
            throw SystemError(call: "bind", subject: "unix:\(path)", number: EADDRINUSE)
        } catch {
            if error.number == EADDRINUSE { throw error }
        }
        _ = try check(clinux_remove_socket(path), "unlink", path)
        try self.init(on: .unix(path: path))
    }

    /// The next connection, or nil when none waits. Only after `setNotWaiting`.
    public func acceptWaiting() throws(SystemError) -> Socket? {
        do throws(SystemError) {
            return try accept()
        } catch {
            if [EAGAIN, ECONNABORTED, EINTR].contains(error.number) { return nil }
            throw error
        }
    }

    /// Makes `accept` fail when no connection waits.
    public func setNotWaiting() throws(SystemError) {
        _ = try check(clinux_set_nonblocking(descriptor.number, 1), "fcntl", address.description)
    }
}
