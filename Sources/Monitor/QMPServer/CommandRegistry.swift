public import LinuxSystem
public import QMP

/// The commands of a monitor: what each takes and what it does.
///
///     registry.register("closefd") { (arguments: inout Arguments) throws(QMPError) in
///         try arguments.string("fdname")
///     } run: { name, _ in
///         try store.close(named: name)
///         return .nothing
///     }
///
/// Arguments are taken first; what is left of them is refused; only then anything is done.
public struct CommandRegistry: Sendable {
    /// Does what a command asks for. `descriptors` came with it; those that nobody takes are closed.
    public typealias Action<Input> = @Sendable (Input, [PassedDescriptor]) async throws -> QMPValue

    private struct Entry: Sendable {
        let isOutOfBand: Bool
        let execute: @Sendable (QMPObject, [PassedDescriptor]) async throws -> QMPValue
    }

    private var entries: [String: Entry] = [:]

    public init() {}

    /// All names, sorted.
    public var names: [String] { entries.keys.sorted() }

    /// Whether `name` may be executed out of band; nil when there is no such command.
    public func isOutOfBand(_ name: String) -> Bool? { entries[name]?.isOutOfBand }

    /// Adds a command, or replaces it.
    ///
    /// - Parameters:
    ///   - isOutOfBand: May run beside another command: it waits for nothing that another command holds.
    ///   - take: Reads the arguments; `finish()` is called behind it.
    ///   - run: Does it. A `QMPError` goes to the client as it is, another error as its text.
    public mutating func register<Input: Sendable>(
        _ name: String, isOutOfBand: Bool = false,
        taking take: @escaping @Sendable (inout Arguments) throws(QMPError) -> Input, run: @escaping Action<Input>
    ) {
        entries[name] = Entry(isOutOfBand: isOutOfBand) { object, descriptors in
            var arguments = Arguments(object)
            let input = try take(&arguments)
            try arguments.finish()
            return try await run(input, descriptors)
        }
    }

    /// Adds a command without arguments.
    public mutating func register(
        _ name: String, isOutOfBand: Bool = false, run: @escaping @Sendable () async throws -> QMPValue
    ) {
        register(name, isOutOfBand: isOutOfBand) { (_: inout Arguments) throws(QMPError) in
        } run: { (_: Void, _) in
            try await run()
        }
    }

    /// Executes a command and says what came of it.
    public func execute(
        _ command: Command, descriptors: [PassedDescriptor] = []
    ) async -> Result<QMPValue, QMPError> {
        guard let entry = entries[command.name] else { return .failure(.unknownCommand(command.name)) }
        do {
            return .success(try await entry.execute(command.arguments, descriptors))
        } catch let error as QMPError {
            return .failure(error)
        } catch {
            return .failure(QMPError("\(error)"))
        }
    }
}
