internal import GuestMemory
internal import LinuxSystem
internal import Migration

/// Puts pages of a `UserFaultMemory` into place, out of staging areas of its own.
///
/// A chunk of 2 MiB of which nothing is there is staged at the same place in 2 MiB of its own, which the kernel backs by
/// one huge page: when the chunk is complete, that page changes its address, and no byte of it is copied again. What
/// comes in pieces is staged elsewhere and copied.
final class UserFaultInstaller: PageInstaller, @unchecked Sendable {
    // Safe: used by one thread at a time.
    private let memory: UserFaultMemory
    private var moved: Staging?
    private var copied: Staging
    /// For units larger than a chunk.
    private var huge: Staging?
    private var place = Place.copied

    private enum Place { case view, moved, copied, huge }

    private final class Staging {
        let mapping: MemoryMapping
        init(byteCount: Int) throws(SystemError) { mapping = try MemoryMapping(.anonymous, byteCount: byteCount) }
    }

    private static let chunkByteCount = 2 << 20
    /// How often the kernel may say that it is busy with the address space.
    private static let attemptLimit = 1000

    init(memory: UserFaultMemory) throws {
        self.memory = memory
        copied = try Staging(byteCount: Self.chunkByteCount)
    }

    func room(region: Int, _ range: PageRange, isWhole: Bool) throws -> UnsafeMutableRawBufferPointer {
        let block = memory.blocks[region]
        let start: UnsafeMutableRawPointer
        if let view = block.view {
            place = .view
            start = view.mapping.baseAddress + range.blockOffset
        } else if block.unitPageCount > 512 {
            place = .huge
            let staging = try huge ?? Staging(byteCount: block.block.hostPageByteCount)
            huge = staging
            start = staging.mapping.baseAddress + range.blockOffset % block.block.hostPageByteCount
        } else {
            place = isWhole && memory.moves && !block.isHuge ? .moved : .copied
            start = try staging(place).mapping.baseAddress + range.blockOffset % chunkByteCount(of: region)
        }
        return UnsafeMutableRawBufferPointer(start: start, count: range.byteCount)
    }

    func hasOwnRoom(region: Int) -> Bool { memory.blocks[region].view == nil }

    private func chunkByteCount(of region: Int) -> Int { memory.chunkPageCount(of: region) * pageSize }

    private func staging(_ place: Place) throws -> Staging {
        guard place == .moved else { return copied }
        let staging = try moved ?? Staging(byteCount: Self.chunkByteCount)
        moved = staging
        return staging
    }

    func install(region: Int, _ range: PageRange) throws {
        let block = memory.blocks[region]
        let destination = block.block.hostAddress + range.blockOffset
        switch place {
        case .view: try show(destination, range.byteCount)
        case .moved:
            guard let moved else { preconditionFailure("nothing was staged") }
            try move(
                from: moved.mapping.baseAddress + range.blockOffset % Self.chunkByteCount, to: destination,
                range.byteCount)
            // A part of a huge page leaves a table of small ones behind, and the next chunk would come in those.
            if range.byteCount != Self.chunkByteCount { self.moved = nil }
        case .copied:
            try copy(
                copied.mapping.baseAddress + range.blockOffset % chunkByteCount(of: region), to: destination,
                range.byteCount, unit: block.block.hostPageByteCount)
        case .huge:
            guard let huge else { preconditionFailure("nothing was staged") }
            try copy(
                huge.mapping.baseAddress + range.blockOffset % block.block.hostPageByteCount, to: destination,
                range.byteCount, unit: block.block.hostPageByteCount)
        }
    }

    func installZeros(region: Int, _ range: PageRange) throws {
        let start = memory.blocks[region].block.hostAddress + range.blockOffset
        try repeatUntilDone(range.byteCount, unit: pageSize) { done throws(SystemError) in
            try memory.fault.zero(start + done, byteCount: range.byteCount - done)
        }
    }

    private func show(_ destination: UnsafeMutableRawPointer, _ byteCount: Int) throws {
        try repeatUntilDone(byteCount, unit: pageSize) { done throws(SystemError) in
            try memory.fault.makePresent(destination + done, byteCount: byteCount - done)
        }
    }

    private func copy(
        _ source: UnsafeMutableRawPointer, to destination: UnsafeMutableRawPointer, _ byteCount: Int, unit: Int
    ) throws {
        try repeatUntilDone(byteCount, unit: unit) { done throws(SystemError) in
            try memory.fault.copy(
                UnsafeRawBufferPointer(start: source + done, count: byteCount - done), to: destination + done)
        }
    }

    private func move(
        from source: UnsafeMutableRawPointer, to destination: UnsafeMutableRawPointer, _ byteCount: Int
    ) throws {
        try repeatUntilDone(byteCount, unit: pageSize) { done throws(SystemError) in
            do throws(SystemError) {
                return try memory.fault.move(from: source + done, to: destination + done, byteCount: byteCount - done)
            } catch {
                // A page that the kernel cannot move now (it is pinned, or of a kind that stays): it can be copied.
                return try memory.fault.copy(
                    UnsafeRawBufferPointer(start: source + done, count: pageSize), to: destination + done)
            }
        }
    }

    /// Goes on until all bytes are done; a page that is there already is passed over.
    private func repeatUntilDone(
        _ byteCount: Int, unit: Int, _ body: (_ done: Int) throws(SystemError) -> UserFault.Outcome
    ) throws {
        var done = 0
        var attempts = 0
        while done < byteCount {
            switch try body(done) {
            case .done(let count):
                done += count
                attempts = 0
            case .alreadyThere: done += unit
            case .tryAgain:
                attempts += 1
                if attempts > Self.attemptLimit {
                    throw MigrationError.machine("The kernel is too busy with memory to put pages into place.")
                }
            case .gone: throw MigrationError.machine("Memory that pages are to be put into is not watched any more.")
            }
        }
    }
}
