internal import Synchronization

/// Hands the chunks of a pass to the threads that send them.
final class ChunkQueue: Sendable {
    private let rest: Mutex<ArraySlice<DirtyTracker.Chunk>>

    init(_ chunks: [DirtyTracker.Chunk]) { rest = Mutex(chunks[...]) }

    /// The next chunk, nil if all have been taken.
    func take() -> DirtyTracker.Chunk? { rest.withLock { $0.popFirst() } }

    /// Leaves what nobody has taken yet.
    func skipRest() { rest.withLock { $0 = [] } }

    /// Puts those that the guest writes behind those that it does not, the most written last.
    ///
    /// Called by one thread. The others go on taking chunks while it counts.
    func putLast(byWrites count: (DirtyTracker.Chunk) -> Int) {
        let before = rest.withLock { $0 }
        let counts = before.map(count)
        rest.withLock { rest in
            // Those taken meanwhile were the first.
            let left = zip(rest, counts.suffix(rest.count))
            rest = left.sorted { ($0.1, $0.0) < ($1.1, $1.0) }.map(\.0)[...]
        }
    }
}

extension DirtyTracker.Chunk: Comparable {
    static func < (one: Self, other: Self) -> Bool {
        (one.region, one.words.lowerBound) < (other.region, other.words.lowerBound)
    }
}
