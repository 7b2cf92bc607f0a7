public import LinuxSystem
public import Migration
internal import Synchronization

/// Opens connections to a socket address: tcp and unix.
public final class SocketConnector: MigrationConnector {
    public let address: String
    public let canOpenMore = true
    private let target: SocketAddress
    private let family: SocketFamily
    private let cancellation: EventDescriptor
    private let isCancelled = Atomic(false)

    init(target: SocketAddress, family: SocketFamily) throws(ChannelError) {
        self.target = target
        self.family = family
        address = target.description
        do { cancellation = try EventDescriptor() } catch {
            throw ChannelError(operation: "connect", address: target.description, reason: reason(of: error))
        }
    }

    public func open() throws(ChannelError) -> any MigrationChannel {
        if isCancelled.load(ordering: .acquiring) {
            throw ChannelError(operation: "connect", address: address, reason: "Cancelled")
        }
        let socket: Socket
        do throws(SystemError) {
            socket = try Socket(connectingTo: target, family: family, cancellation: cancellation)
        } catch {
            throw ChannelError(operation: "connect", address: address, reason: reason(of: error))
        }
        return try DescriptorChannel(adopting: socket.takeDescriptor(), address: address)
    }

    public func cancel() {
        isCancelled.store(true, ordering: .releasing)
        cancellation.notify()
    }
}

/// Waits for connections at a socket address: tcp and unix, or a listening socket that was handed over.
public final class SocketListener: MigrationListener {
    public let address: String
    public let acceptsMore = true
    private let socket: ListeningSocket
    private let isCancelled = Atomic(false)

    init(on target: SocketAddress, lastPort: UInt16, family: SocketFamily) throws(ChannelError) {
        do throws(SystemError) {
            socket = try ListeningSocket(replacing: target, lastPort: lastPort, family: family)
        } catch {
            throw ChannelError(operation: "listen", address: target.description, reason: reason(of: error))
        }
        address = socket.address.description
    }

    init(adopting socket: consuming ListeningSocket, address: String) {
        self.socket = socket
        self.address = address
    }

    /// Where it really listens, with the port that was chosen.
    public var boundAddress: SocketAddress { socket.address }

    public func accept() throws(ChannelError) -> any MigrationChannel {
        if isCancelled.load(ordering: .acquiring) {
            throw ChannelError(operation: "accept", address: address, reason: "Cancelled")
        }
        let connection: Socket
        do throws(SystemError) { connection = try socket.accept() } catch {
            throw ChannelError(operation: "accept", address: address, reason: reason(of: error))
        }
        return try DescriptorChannel(adopting: connection.takeDescriptor(), address: address)
    }

    public func cancel() {
        let wasCancelled = isCancelled.exchange(true, ordering: .acquiringAndReleasing)
        if wasCancelled { return }
        socket.shutDown()
        socket.removePath()
    }
}
