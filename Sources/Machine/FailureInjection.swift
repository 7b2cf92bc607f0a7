internal import Synchronization

/// Devices that fail on purpose, to see that a migration survives it: the n-th that is saved or loaded.
///
///     save:3     the third device saved from the start of the machine on, once
///     load:17    the seventeenth loaded
public struct FailureInjection: Equatable, Sendable {
    public enum Operation: String, Sendable {
        case save
        case load
    }

    public let operation: Operation
    /// 1 is the first.
    public let number: Int

    /// Reads `save:N` or `load:N`; nil if it is none.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let operation = Operation(rawValue: String(parts[0])), let number = Int(parts[1]),
            number > 0
        else { return nil }
        self.operation = operation
        self.number = number
    }
}

/// A failure that was asked for.
public struct InjectedFailure: Error, Equatable, CustomStringConvertible {
    public let operation: FailureInjection.Operation
    public let number: Int
    public let device: String

    public var description: String { "Device \(device) fails on purpose (\(operation.rawValue) \(number))." }
}

/// Counts what devices do, and fails when it is time to.
final class FailureCounter: Sendable {
    private let injection: FailureInjection?
    private let count = Atomic<Int>(0)

    init(_ injection: FailureInjection?) { self.injection = injection }

    func check(_ operation: FailureInjection.Operation, of device: String) throws(InjectedFailure) {
        guard let injection, injection.operation == operation else { return }
        let number = count.add(1, ordering: .relaxed).newValue
        if number == injection.number {
            throw InjectedFailure(operation: operation, number: number, device: device)
        }
    }
}
