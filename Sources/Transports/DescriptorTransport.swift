internal import LinuxSystem
public import Migration
internal import Synchronization

/// Connections that were handed over as descriptors: NAME, then NAME-1, NAME-2 and so on.
///
/// Only the first must be there at the beginning; a later one is looked for when it is opened.
public final class DescriptorConnector: MigrationConnector {
    public let address: String
    public let canOpenMore = true
    private let name: String
    private let make: @Sendable (String) throws(ChannelError) -> DescriptorChannel
    private let state: Mutex<State>

    private struct State: Sendable {
        var main: DescriptorChannel?
        var openedCount = 0
        var isCancelled = false
    }

    init(
        _ main: DescriptorChannel, name: String,
        make: @escaping @Sendable (String) throws(ChannelError) -> DescriptorChannel
    ) {
        address = main.address
        self.name = name
        self.make = make
        state = Mutex(State(main: main))
    }

    public func open() throws(ChannelError) -> any MigrationChannel {
        let (main, index, isCancelled) = state.withLock { state in
            defer {
                state.main = nil
                state.openedCount += 1
            }
            return (state.main, state.openedCount, state.isCancelled)
        }
        if isCancelled { throw ChannelError(operation: "connect", address: address, reason: "Cancelled") }
        if let main { return main }
        return try make("\(name)-\(index)")
    }

    public func cancel() {
        state.withLock { state in
            state.isCancelled = true
            state.main?.shutDown()
        }
    }
}

/// The destination's ends of connections that were handed over: all that there are when it is made.
public final class DescriptorListener: MigrationListener {
    public let address: String
    public let acceptsMore = true
    private let channels: Mutex<[DescriptorChannel]>
    /// Open once nobody is waited for any more.
    private let end = Gate()

    init(_ channels: [DescriptorChannel]) {
        address = channels.first?.address ?? "fd:"
        self.channels = Mutex(channels)
    }

    public func accept() throws(ChannelError) -> any MigrationChannel {
        if let channel = channels.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { return channel }
        // More cannot come, but those that have come are still being asked who they are.
        end.wait()
        throw ChannelError(operation: "accept", address: address, reason: "Cancelled")
    }

    public func cancel() {
        for channel in channels.withLock({ $0 }) { channel.shutDown() }
        end.open()
    }
}
