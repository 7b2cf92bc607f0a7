internal import CLinux
internal import Glibc

/// A connected stream socket.
public struct Socket: ~Copyable, Sendable {
    public let descriptor: OwnedDescriptor

    public init(adopting descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    /// Connects to `address`, trying each of its kernel addresses in turn.
    public init(connectingTo address: SocketAddress) throws(SystemError) {
        let number = try address.tryEach(passive: false) { (family, kernelAddress, length) throws(SystemError) in
            let socket = OwnedDescriptor(
                adopting: try check(clinux_socket(family, Int32(SOCK_STREAM.rawValue)), "socket"))
            _ = try check(clinux_connect(socket.number, kernelAddress, length), "connect", address.description)
            return socket.release()
        }
        self.init(adopting: OwnedDescriptor(adopting: number))
        setNoDelay()
    }

    /// Sends small messages at once; a UNIX socket does so anyway.
    func setNoDelay() { _ = clinux_set_option(descriptor.number, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }

    /// Sends all of `bytes`.
    public func send(all bytes: UnsafeRawBufferPointer) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            done += try check(
                clinux_send(descriptor.number, bytes.baseAddress! + done, bytes.count - done, 0), "send")
        }
    }

    /// Receives at most `buffer.count` bytes; 0 when the peer has ended.
    public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        try descriptor.read(into: buffer)
    }

    /// The first `count` bytes that will be received, left unread; fewer when the peer ends before them.
    public func peek(_ count: Int) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let length = bytes.withUnsafeMutableBytes { clinux_peek(descriptor.number, $0.baseAddress, count) }
        return Array(bytes.prefix(try check(length, "recv")))
    }

    /// Ends sending: the peer reads the end of the stream.
    public func endSending() { _ = clinux_shutdown(descriptor.number, Int32(SHUT_WR)) }

    /// Ends both directions; a thread blocked on this socket returns. May be called from any thread.
    public func shutDown() { _ = clinux_shutdown(descriptor.number, Int32(SHUT_RDWR)) }
}

/// A socket that waits for connections.
public struct ListeningSocket: ~Copyable, Sendable {
    public let descriptor: OwnedDescriptor
    /// Where it listens; a port 0 has become the real one.
    public let address: SocketAddress
    /// Whether it was made by somebody else, who also owns its path.
    let isInherited: Bool

    /// Listens on `address`. The path of a UNIX address must be free.
    public init(
        on address: SocketAddress, family wanted: SocketFamily = .any, backlog: Int32 = 300
    ) throws(SystemError) {
        let number = try address.tryEach(passive: true, family: wanted) {
            (family, kernelAddress, length) throws(SystemError) in
            let socket = OwnedDescriptor(
                adopting: try check(clinux_socket(family, Int32(SOCK_STREAM.rawValue)), "socket"))
            if family != AF_UNIX { _ = clinux_set_option(socket.number, SOL_SOCKET, SO_REUSEADDR, 1) }
            _ = try check(clinux_bind(socket.number, kernelAddress, length), "bind", address.description)
            _ = try check(clinux_listen(socket.number, backlog), "listen", address.description)
            return socket.release()
        }
        descriptor = OwnedDescriptor(adopting: number)
        var bound = address
        if case .tcp(let host, _) = address {
            let port = clinux_local_port(number)
            precondition(port > 0, "a bound socket has no port: \(port)")
            bound = .tcp(host: host, port: UInt16(port))
        }
        self.address = bound
        isInherited = false
    }

    /// Takes over a socket that somebody else has made listen; `name` is what messages call it.
    public init(listening descriptor: consuming OwnedDescriptor, name: String) {
        self.descriptor = descriptor
        address = .unix(path: name)
        isInherited = true
    }

    /// Waits for the next connection.
    public func accept() throws(SystemError) -> Socket {
        let socket = Socket(
            adopting: OwnedDescriptor(
                adopting: try check(clinux_accept(descriptor.number), "accept", address.description)))
        socket.setNoDelay()
        return socket
    }

    /// Makes a blocked `accept` return with an error. May be called from any thread.
    public func shutDown() { _ = clinux_shutdown(descriptor.number, Int32(SHUT_RDWR)) }
}
