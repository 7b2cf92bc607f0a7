internal import GuestMemory
internal import MigrationStream
internal import Synchronization

/// Keeps what was last sent of pages, to send only what changed since.
///
/// A direct-mapped cache of a fixed number of pages: a page displaces another that falls into its slot. What a slot
/// holds is exactly what the destination has of that page. Used by one thread; `statistics` by any.
final class DeltaEncoder: Sendable {
    // Safe: only the thread that writes pages touches the memory and the keys; the statistics are in a mutex.
    private nonisolated(unsafe) let pages: UnsafeMutableRawBufferPointer
    private nonisolated(unsafe) let keys: UnsafeMutableBufferPointer<Int>
    private nonisolated(unsafe) let copy: UnsafeMutableRawBufferPointer
    private nonisolated(unsafe) let output: UnsafeMutableRawBufferPointer
    private let slotCount: Int
    private let counts: Mutex<XBZRLEStatistics>

    /// What to send of a page.
    enum Outcome {
        /// The page itself, which the cache does not hold.
        case notUsed
        /// Nothing: the destination has it.
        case unchanged
        /// So many bytes of `update`.
        case changes(Int)
        /// All of this copy, which the cache holds from now on.
        case whole(UnsafeRawBufferPointer)
    }

    /// A cache of `byteCount` bytes, at least one page.
    init(byteCount: Int) {
        slotCount = max(1, byteCount / pageSize)
        pages = .allocate(byteCount: slotCount * pageSize, alignment: pageSize)
        keys = .allocate(capacity: slotCount)
        keys.initialize(repeating: -1)
        copy = .allocate(byteCount: pageSize, alignment: pageSize)
        output = .allocate(byteCount: pageSize, alignment: 16)
        var counts = XBZRLEStatistics()
        counts.cacheByteCount = slotCount * pageSize
        self.counts = Mutex(counts)
    }

    deinit {
        pages.deallocate()
        keys.deallocate()
        copy.deallocate()
        output.deallocate()
    }

    var statistics: XBZRLEStatistics { counts.withLock { $0 } }

    /// Compares a page with what was sent of it.
    ///
    /// The guest may write the page meanwhile, so a copy of it is made first, compared and kept.
    func encode(_ page: UnsafeRawBufferPointer, region: Int, offset: Int) -> Outcome {
        copy.copyMemory(from: page)
        let (key, slot) = place(region: region, offset: offset)
        guard keys[key.slot] == key.value else {
            keys[key.slot] = key.value
            slot.copyMemory(from: UnsafeRawBufferPointer(copy))
            counts.withLock { $0.cacheMissCount += 1 }
            return .whole(UnsafeRawBufferPointer(copy))
        }
        var update = output.mutableBytes
        let length = XBZRLE.encode(
            old: UnsafeRawBufferPointer(slot).bytes, new: UnsafeRawBufferPointer(copy).bytes, into: &update)
        if length == 0 { return .unchanged }
        slot.copyMemory(from: UnsafeRawBufferPointer(copy))
        guard let length else {
            counts.withLock { $0.overflowCount += 1 }
            return .whole(UnsafeRawBufferPointer(copy))
        }
        counts.withLock {
            $0.pageCount += 1
            $0.byteCount += length
        }
        return .changes(length)
    }

    /// The changes that `encode` made.
    func update(byteCount: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: output[..<byteCount])
    }

    /// The page was sent as zeros.
    func forgetContents(region: Int, offset: Int) {
        let (key, _) = place(region: region, offset: offset)
        if keys[key.slot] == key.value { keys[key.slot] = -1 }
    }

    private func place(
        region: Int, offset: Int
    ) -> (key: (slot: Int, value: Int), slot: UnsafeMutableRawBufferPointer) {
        let value = region << 48 | offset / pageSize
        let slot = (offset / pageSize + region * 7919) % slotCount
        return (
            (slot, value), UnsafeMutableRawBufferPointer(rebasing: pages[slot * pageSize..<(slot + 1) * pageSize])
        )
    }
}
