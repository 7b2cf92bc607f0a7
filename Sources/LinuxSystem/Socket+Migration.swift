internal import CLinux
internal import Glibc

extension Socket {
    /// Connects to `address`, trying each of its kernel addresses in turn, until `cancellation` is notified.
    ///
    /// - Throws: `SystemError` with ECANCELED when it was cancelled.
    public init(
        connectingTo address: SocketAddress, family: SocketFamily = .any, cancellation: borrowing EventDescriptor
    ) throws(SystemError) {
        let cancel = cancellation.number
        let number = try address.tryEach(passive: false, family: family) {
            (family, kernelAddress, length) throws(SystemError) in
            let socket = OwnedDescriptor(
                adopting: try check(clinux_socket(family, Int32(SOCK_STREAM.rawValue)), "socket"))
            _ = try check(clinux_set_nonblocking(socket.number, 1), "fcntl")
            let result = clinux_connect(socket.number, kernelAddress, length)
            // A UNIX socket whose listener has too many to accept says EAGAIN: waiting does not help there.
            if result == -EINPROGRESS {
                try waitUntilConnected(socket.number, cancel: cancel, address: address)
            } else {
                _ = try check(result, "connect", address.description)
            }
            _ = try check(clinux_set_nonblocking(socket.number, 0), "fcntl")
            return socket.release()
        }
        self.init(adopting: OwnedDescriptor(adopting: number))
        setNoDelay()
    }
}

private func waitUntilConnected(_ number: Int32, cancel: Int32, address: SocketAddress) throws(SystemError) {
    var entries = (
        pollfd(fd: number, events: Int16(POLLOUT), revents: 0), pollfd(fd: cancel, events: Int16(POLLIN), revents: 0)
    )
    let result = withUnsafeMutableBytes(of: &entries) { bytes in
        clinux_poll(bytes.baseAddress!.assumingMemoryBound(to: pollfd.self), 2, -1)
    }
    _ = try check(result, "poll")
    if entries.1.revents != 0 {
        throw SystemError(call: "connect", subject: address.description, number: ECANCELED)
    }
    _ = try check(clinux_socket_error(number), "connect", address.description)
}

extension Socket {
    /// The descriptor alone, which the caller owns now.
    public consuming func takeDescriptor() -> OwnedDescriptor { descriptor }
}

extension ListeningSocket {
    /// Listens on `address`, or the first free port after its own up to `lastPort`.
    ///
    /// A socket left at the path of a UNIX address is removed; anything else there is an error.
    public init(replacing address: SocketAddress, lastPort: UInt16, family: SocketFamily = .any) throws(SystemError) {
        if case .unix(let path) = address {
            _ = try check(clinux_remove_socket(path), "bind", address.description)
        }
        guard case .tcp(let host, let port) = address, lastPort > port else {
            try self.init(on: address, family: family)
            return
        }
        var last: SystemError?
        for candidate in port...lastPort {
            do throws(SystemError) {
                try self.init(on: .tcp(host: host, port: candidate), family: family)
                return
            } catch {
                guard error.number == EADDRINUSE else { throw error }
                last = error
            }
        }
        throw SystemError(
            call: "bind", subject: "\(address.description) to \(lastPort)", number: last?.number ?? EADDRINUSE)
    }

    /// Whether the socket `number` waits for connections.
    public static func isListening(_ number: Int32) -> Bool { clinux_is_listening(number) == 1 }

    /// Removes the path of a UNIX address, if a socket is still there.
    public func removePath() {
        if !isInherited, case .unix(let path) = address { _ = clinux_remove_socket(path) }
    }
}
