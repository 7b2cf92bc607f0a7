internal import CLinux
internal import Synchronization

/// A descriptor that came over a socket, until somebody takes it; closed if nobody does.
public final class PassedDescriptor: Sendable {
    /// Its number while it is here, for reports.
    public let number: Int32
    private let descriptor: Mutex<OwnedDescriptor?>

    public init(_ descriptor: consuming OwnedDescriptor) {
        number = descriptor.number
        self.descriptor = Mutex(descriptor)
    }

    /// Takes over a number that the starter of this program left open; nil when it did not.
    public convenience init?(inherited number: Int32) {
        guard clinux_is_open(number) == 1 else { return nil }
        self.init(OwnedDescriptor(adopting: number))
    }

    /// The descriptor; nil when it was taken before.
    public func take() -> OwnedDescriptor? { descriptor.withLock { $0.take() } }
}
