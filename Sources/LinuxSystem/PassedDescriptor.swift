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

    /// The descriptor; nil when it was taken before.
    public func take() -> OwnedDescriptor? { descriptor.withLock { $0.take() } }
}
