public import LinuxSystem

/// A connection between the two sides, seen by threads that may block.
///
/// One thread sends and one receives; `shutDown` may be called by any other.
public protocol MigrationChannel: AnyObject, Sendable {
    /// Where it leads, for messages: "tcp:192.168.1.7:4444".
    var address: String { get }
    /// Whether the peer can answer on it: a socket can, a file cannot.
    var isBidirectional: Bool { get }
    /// Sends all of `vectors`, which is empty afterwards.
    ///
    /// - Returns: What the channel took while it pushed back.
    func send(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure
    /// Receives at most `buffer.count` bytes; 0 when the peer has ended.
    func receive(into buffer: UnsafeMutableRawBufferPointer) throws(ChannelError) -> Int
    /// Waits until something can be received. Who has slept in `receive` meanwhile is woken whenever the channel has sent
    /// something, too, by the kernel's TCP.
    func waitForBytes() throws(ChannelError)
    /// Receives into `vectors` what one call gives, which is forgotten there; 0 when the peer has ended.
    func receive(some vectors: inout MemoryVectors) throws(ChannelError) -> Int
    /// Receives into `vectors` what is there, which is forgotten there, and does not wait; nil if nothing is, or if the
    /// channel cannot tell.
    func receive(now vectors: inout MemoryVectors) throws(ChannelError) -> Int?
    /// Fills all of `vectors`, which is empty afterwards.
    ///
    /// - Throws: `ChannelError` also when the peer ends before.
    func receive(all vectors: inout MemoryVectors) throws(ChannelError)
    /// Ends sending, after all was sent: the peer sees the end of the stream.
    func endSending() throws(ChannelError)
    /// Ends receiving: whoever is blocked in it returns, as at the end of the stream or with an error. Sending goes on
    /// where the directions are apart.
    func stopReceiving()
    /// Ends both directions at once: whoever is blocked here gets an error.
    func shutDown()
    /// Lets at most about `byteCount` bytes wait here to be sent, so that what comes later is not far behind.
    func limitUnsentBytes(to byteCount: Int)
    /// Lets at most about `byteCount` bytes wait here to be received, where that can be chosen. What the peer was let send
    /// before stays possible.
    func limitUnreadBytes(to byteCount: Int)
    /// The time that a byte takes to the peer and back when nothing stands in its way, if that is known.
    var leastRoundTrip: Duration? { get }
    /// Whether the peer is known to be on this host.
    var isWithinHost: Bool { get }

    /// Makes ready to send memory without a copy of it.
    ///
    /// - Throws: `ChannelError` where that is not possible.
    func enableZeroCopy() throws(ChannelError)
    /// Sends as `send` does, but perhaps without a copy: what arrives is what the memory holds until `finishZeroCopy`.
    func sendUncopied(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure
    /// Waits until nothing that was sent so is read from memory any more.
    ///
    /// - Returns: Whether all of it was copied after all, and there was something.
    func finishZeroCopy() throws(ChannelError) -> Bool

    /// Makes ready to send memory by lending it to a peer on this host; false where that is not possible or saves nothing.
    func enableLending() -> Bool
    /// Sends whole pages as `send` does, but lends them: what arrives is what the memory holds when the peer receives it.
    /// Only the peer can tell when that was.
    func sendLent(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure

    /// Whether descriptors can travel with bytes: the other side is a process of this host.
    var passesDescriptors: Bool { get }
    /// Sends all of `bytes`, `descriptors` with the first of them.
    func send(_ bytes: [UInt8], passing descriptors: [PassedDescriptor]) throws(ChannelError)
    /// Keeps descriptors that come with what `receive(into:)` receives from now on.
    func keepDescriptors()
    /// The descriptors that were kept, in the order in which they came; no more are kept from now on.
    func takeDescriptors() -> [PassedDescriptor]
}

extension MigrationChannel {
    public func waitForBytes() throws(ChannelError) {}
    public func receive(now vectors: inout MemoryVectors) throws(ChannelError) -> Int? { nil }
    public func limitUnsentBytes(to byteCount: Int) {}
    public func limitUnreadBytes(to byteCount: Int) {}
    public var leastRoundTrip: Duration? { nil }
    public var isWithinHost: Bool { false }

    public func enableZeroCopy() throws(ChannelError) {
        throw ChannelError(operation: "send without a copy", address: address, reason: "Only TCP sockets can")
    }
    public func sendUncopied(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure {
        try send(&vectors)
    }
    public func finishZeroCopy() throws(ChannelError) -> Bool { false }
    public func enableLending() -> Bool { false }
    public func sendLent(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure { try send(&vectors) }

    public var passesDescriptors: Bool { false }
    public func send(_ bytes: [UInt8], passing descriptors: [PassedDescriptor]) throws(ChannelError) {
        throw ChannelError(operation: "send", address: address, reason: "Descriptors cannot travel here")
    }
    public func keepDescriptors() {}
    public func takeDescriptors() -> [PassedDescriptor] { [] }
}

/// An operation on a connection that failed: what, where and why.
public struct ChannelError: Error, Equatable, CustomStringConvertible {
    /// "connect", "listen", "send", "receive".
    public var operation: String
    public var address: String
    /// Without a full stop: "Connection refused".
    public var reason: String

    public init(operation: String, address: String, reason: String) {
        self.operation = operation
        self.address = address
        self.reason = reason
    }

    public var description: String { "Cannot \(operation) on \(address): \(reason)." }
}

/// Opens the connections of an outgoing migration.
public protocol MigrationConnector: AnyObject, Sendable {
    /// Where it connects to, for messages.
    var address: String { get }
    /// Whether more than one connection can be opened.
    var canOpenMore: Bool { get }
    /// Opens a connection; the first is the main channel.
    func open() throws(ChannelError) -> any MigrationChannel
    /// Makes a blocked `open` fail, and every later one. May be called by any thread.
    func cancel()
}

/// Waits for the connections of an incoming migration.
public protocol MigrationListener: AnyObject, Sendable {
    /// Where it listens, for messages.
    var address: String { get }
    /// Whether more than one connection can come.
    var acceptsMore: Bool { get }
    /// Waits for the next connection, whoever it is from.
    func accept() throws(ChannelError) -> any MigrationChannel
    /// Makes a blocked `accept` fail, and every later one. May be called by any thread.
    func cancel()
}
