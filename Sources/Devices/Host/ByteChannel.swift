/// The host's end of a serial port or console.
///
/// Bytes out are taken at once; bytes in wait until the device has room for them, so that none is in a place that a
/// migration does not move.
public protocol ByteChannel: AnyObject, Sendable {
    /// Takes bytes of the guest in order. Any thread; must not wait.
    func send(_ bytes: [UInt8])

    /// Gives up to `count` bytes for the guest, none when there are none. Any thread.
    func take(_ count: Int) -> [UInt8]

    /// Sets what is called, on any thread, when bytes for the guest have come.
    func onInput(_ handler: @escaping @Sendable () -> Void)
}

/// A channel that nobody listens to.
public final class SilentChannel: ByteChannel {
    public init() {}
    public func send(_ bytes: [UInt8]) {}
    public func take(_ count: Int) -> [UInt8] { [] }
    public func onInput(_ handler: @escaping @Sendable () -> Void) {}
}
