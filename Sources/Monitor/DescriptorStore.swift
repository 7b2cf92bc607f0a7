public import LinuxSystem
public import QMP
internal import Synchronization

/// Descriptors that QMP clients handed over: by name (`getfd`), and in numbered sets (`add-fd`).
public final class DescriptorStore: Sendable {
    private struct Member: Sendable {
        let descriptor: PassedDescriptor
        let opaque: String?
    }

    private struct State: Sendable {
        var named: [String: PassedDescriptor] = [:]
        var sets: [Int64: [Member]] = [:]
    }

    private let state = Mutex(State())

    public init() {}

    /// Keeps the first of `descriptors` under `name`, in place of one that had the name.
    ///
    /// - Throws: QEMU's sentence when none came or the name looks like a number.
    public func add(_ descriptors: [PassedDescriptor], named name: String) throws(QMPError) {
        guard let descriptor = descriptors.first else { throw DescriptorStore.noneSupplied }
        if let first = name.utf8.first, (0x30...0x39).contains(first) {
            throw QMPError("Parameter 'fdname' expects a name not starting with a digit")
        }
        state.withLock { $0.named[name] = descriptor }
    }

    /// The descriptor `name` stands for, which then belongs to the caller; the name is free again.
    public func take(named name: String) throws(QMPError) -> OwnedDescriptor {
        let found = state.withLock { $0.named.removeValue(forKey: name) }
        guard let descriptor = found?.take() else {
            throw QMPError("File descriptor named '\(name)' has not been found")
        }
        return descriptor
    }

    /// Closes the descriptor `name` stands for.
    public func close(named name: String) throws(QMPError) {
        guard state.withLock({ $0.named.removeValue(forKey: name) }) != nil else { throw Self.notFound(name) }
    }

    /// Puts the first of `descriptors` into the set `identifier`, or into the first free one.
    ///
    /// - Returns: `{"fdset-id", "fd"}`, the latter the number in this process.
    public func add(_ descriptors: [PassedDescriptor], toSet identifier: Int64?, opaque: String?) throws(QMPError)
        -> QMPValue
    {
        guard let descriptor = descriptors.first else { throw DescriptorStore.noneSupplied }
        if let identifier, identifier < 0 {
            throw QMPError("Parameter 'fdset-id' expects a non-negative value")
        }
        let chosen = state.withLock { state in
            var chosen = identifier ?? 0
            if identifier == nil { while state.sets[chosen] != nil { chosen += 1 } }
            state.sets[chosen, default: []].append(Member(descriptor: descriptor, opaque: opaque))
            return chosen
        }
        return ["fdset-id": .integer(chosen), "fd": QMPValue(Int(descriptor.number))]
    }

    /// Closes the descriptor `number` of a set, or all of the set.
    public func remove(fromSet identifier: Int64, number: Int64?) throws(QMPError) {
        let isFound = state.withLock { state in
            guard let members = state.sets[identifier] else { return false }
            let rest = number.map { number in members.filter { Int64($0.descriptor.number) != number } } ?? []
            state.sets[identifier] = rest.isEmpty ? nil : rest
            return rest.count < members.count
        }
        if !isFound { throw Self.notFound("fdset-id:\(identifier)" + (number.map { ", fd:\($0)" } ?? "")) }
    }

    /// The answer to `query-fdsets`.
    public var sets: QMPValue {
        let sets = state.withLock { $0.sets }
        return .array(
            sets.keys.sorted().map { identifier in
                let members = (sets[identifier] ?? []).map { member -> QMPValue in
                    var object: QMPObject = ["fd": QMPValue(Int(member.descriptor.number))]
                    object["opaque"] = member.opaque.map(QMPValue.string)
                    return .object(object)
                }
                return ["fdset-id": .integer(identifier), "fds": .array(members)]
            })
    }

    private static let noneSupplied = QMPError("No file descriptor supplied via SCM_RIGHTS")
    private static func notFound(_ name: String) -> QMPError {
        QMPError("File descriptor named '\(name)' not found")
    }
}
