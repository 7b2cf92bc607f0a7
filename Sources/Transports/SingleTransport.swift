public import Migration
internal import Synchronization

/// A connection that there is only one of: a descriptor, a command, a file.
public final class SingleTransport: MigrationConnector, MigrationListener {
    public let address: String
    public let canOpenMore = false
    public let acceptsMore = false
    private let channel: Mutex<(any MigrationChannel)?>

    init(_ channel: any MigrationChannel) {
        address = channel.address
        self.channel = Mutex(channel)
    }

    public func open() throws(ChannelError) -> any MigrationChannel { try take("connect") }
    public func accept() throws(ChannelError) -> any MigrationChannel { try take("accept") }

    private func take(_ operation: String) throws(ChannelError) -> any MigrationChannel {
        let taken = channel.withLock { channel in
            let taken = channel
            channel = nil
            return taken
        }
        guard let taken else {
            throw ChannelError(operation: operation, address: address, reason: "It is a single connection")
        }
        return taken
    }

    public func cancel() { channel.withLock { $0?.shutDown() } }
}
