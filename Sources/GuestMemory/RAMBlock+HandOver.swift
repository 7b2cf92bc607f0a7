public import LinuxSystem
internal import Synchronization

/// Handing a block over to another process of this host: the memfd itself moves, and no page is copied.
///
/// Both processes have the same pages then. Which of them may run the guest says the lock of the memfd: `MemoryLock`.
extension RAMBlock {
    /// The memfd for the process that takes the block over. The lock is taken by this process, if it was not before.
    ///
    /// - Throws: `MemoryHandOverError` if the memory is private, or another process has its lock.
    public func share() throws -> PassedDescriptor {
        guard isShared else { throw MemoryHandOverError.isPrivate(block: name) }
        let file = try duplicateFile()
        if lock == nil { lock = MemoryLock(block: name, file: try file.reopen(), use: .here) }
        try lock?.take()
        return PassedDescriptor(file)
    }

    /// Shows the pages of `descriptor` in place of the block's own, at the same addresses. Its lock is not taken.
    ///
    /// - Throws: `MemoryHandOverError`; the block is then as it was.
    public func adopt(_ descriptor: PassedDescriptor) throws {
        guard isShared else { throw MemoryHandOverError.isPrivate(block: name) }
        guard let file = descriptor.take(), let memory = MemoryFile(file) else {
            throw MemoryHandOverError.noMemory(block: name)
        }
        guard memory.byteCount == byteCount else {
            throw MemoryHandOverError.size(block: name, here: byteCount, there: memory.byteCount)
        }
        guard memory.pageSize == hostPageByteCount else {
            throw MemoryHandOverError.pageSize(block: name, here: hostPageByteCount, there: memory.pageSize)
        }
        guard memory.cannotShrink else { throw MemoryHandOverError.notSealed(block: name) }
        let lock = MemoryLock(block: name, file: try file.reopen(), use: .notYet)
        try replacePages(with: file)
        self.lock = lock
    }

    /// Shows new pages, all zero, in place of those that were adopted and are not used after all.
    public func abandon() throws {
        guard isShared, lock != nil else { return }
        try renewPages()
        lock = nil
    }
}

/// Says which process may run the guest whose memory this is: the one that has it.
///
/// A lock on the first byte of the memfd, of an open file of its own, so that it ends with the process. As with the lock
/// of a disk, whoever gives the guest away gives it up, and whoever lets the guest run must have it.
///
/// A process that ended leaves no lock, but it has changed the memory: whoever lets a guest that came to it run leaves
/// another time of modification at the memfd, which tells the one before that its virtual CPUs no longer fit.
public final class MemoryLock: Sendable {
    public let block: String
    private let file: OwnedDescriptor
    private let use: Mutex<Use>

    /// Whose virtual CPUs the memory fits.
    enum Use: Equatable {
        /// This process's, which has let the guest run, or may.
        case here
        /// Those of the process that it came from.
        case notYet
        /// Given up when the memfd was last modified at this time: this process's as long as that has not changed.
        case givenUp(Int64)
    }

    init(block: String, file: consuming OwnedDescriptor, use: Use) {
        self.block = block
        self.file = file
        self.use = Mutex(use)
    }

    /// Takes the lock, if this process does not have it.
    ///
    /// - Throws: `MemoryHandOverError.isElsewhere` if another process has it.
    public func take() throws {
        guard try file.lockExclusive(0..<1) else { throw MemoryHandOverError.isElsewhere(block: block) }
    }

    /// Gives the lock up.
    public func release() throws {
        try use.withLock { use in
            if use == .here { use = .givenUp(try file.modificationTime()) }
        }
        try file.unlock(0..<1)
    }

    /// Says that the guest runs here from now on. The lock must have been taken.
    ///
    /// - Throws: `MemoryHandOverError.hasRunElsewhere` if this process gave the memory away and the guest has run
    ///   on in another; its lock is given up again.
    public func beginUse() throws {
        try use.withLock { use in
            switch use {
            case .here: return
            case .notYet: try file.touch()
            case .givenUp(let time):
                guard try file.modificationTime() == time else {
                    try file.unlock(0..<1)
                    throw MemoryHandOverError.hasRunElsewhere(block: block)
                }
            }
            use = .here
        }
    }

    /// The memory was written anew and fits this process's virtual CPUs, and nobody else's. The lock must have been taken.
    public func beginAnew() throws {
        try file.touch()
        use.withLock { $0 = .here }
    }
}

/// Why memory cannot be handed over, or taken.
public enum MemoryHandOverError: Error, Equatable, CustomStringConvertible {
    case isPrivate(block: String)
    /// What came is no memfd, or nothing came.
    case noMemory(block: String)
    case size(block: String, here: Int, there: Int)
    case pageSize(block: String, here: Int, there: Int)
    case notSealed(block: String)
    /// Another process may run the guest.
    case isElsewhere(block: String)
    /// Another process has run the guest, and has ended.
    case hasRunElsewhere(block: String)

    public var description: String {
        switch self {
        case .isPrivate(let block):
            "RAM block \(block) is private memory here, and only memory of kind shared=on can be handed over."
        case .noMemory(let block): "No memory came for RAM block \(block)."
        case .size(let block, let here, let there):
            "RAM block \(block) has \(here) bytes here, and the memory that came for it \(there)."
        case .pageSize(let block, let here, let there):
            "RAM block \(block) has pages of \(here >> 10) KiB here, and the memory that came for it of \(there >> 10) KiB."
        case .notSealed(let block): "The memory that came for RAM block \(block) could shrink under the guest."
        case .isElsewhere(let block):
            "RAM block \(block) was handed over to another monitor, which may run the guest."
        case .hasRunElsewhere(let block):
            "RAM block \(block) was handed over to another monitor, where the guest has run on: it cannot go on here, only "
                + "be reset."
        }
    }
}
