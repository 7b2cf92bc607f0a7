import GuestSupport
import LinuxSystem

/// Free huge pages of 2 MiB on this host: as many as are needed are added to its pool, and taken back at the end.
final class HugePagePool {
    private static let setting = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    private static let freeCount = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
    private let previous: Int

    /// Whether the pool can be made larger here, which only root may do, and only while memory is in one piece.
    static let canGrow = (try? HugePagePool(free: 42)) != nil

    struct CannotGrow: Error {}

    init(free needed: Int) throws {
        guard let count = Self.number(Self.setting), let free = Self.number(Self.freeCount) else { throw CannotGrow() }
        previous = count
        if free < needed { Self.set(count + needed - free) }
        guard let now = Self.number(Self.freeCount), now >= needed else {
            Self.set(previous)
            throw CannotGrow()
        }
    }

    deinit { Self.set(previous) }

    private static func number(_ path: String) -> Int? {
        FileSystem.text(of: path).flatMap { Int($0.filter(\.isNumber)) }
    }

    private static func set(_ count: Int) {
        guard let file = try? OwnedDescriptor(opening: setting, for: .readingAndWriting) else { return }
        try? file.write(all: Array("\(count)\n".utf8).span.bytes)
    }
}
