import GuestMemory
import Testing

@testable import Migration
@testable import MigrationTestSupport

@Suite struct ChunkQueueTests {
    private let chunks = (0..<6).map { DirtyTracker.Chunk(region: 0, words: $0 * 8..<($0 + 1) * 8) }

    @Test func `what is written most comes last, and all else in order`() {
        let queue = ChunkQueue(chunks)
        let first = queue.take()
        let writes = [0, 7, 0, 2, 7, 0]
        queue.putLast { writes[$0.words.lowerBound / 8] }
        let rest = Array(sequence(state: ()) { _ in queue.take() })
        #expect([first].compactMap(\.self) + rest == [0, 2, 5, 3, 1, 4].map { chunks[$0] })
    }

    @Test func `chunks taken while they are counted are not handed out again`() {
        let queue = ChunkQueue(chunks)
        var taken: [DirtyTracker.Chunk] = []
        queue.putLast { chunk in
            if taken.count < 2, let next = queue.take() { taken.append(next) }
            return chunk.words.lowerBound == 16 ? 1 : 0
        }
        while let chunk = queue.take() { taken.append(chunk) }
        #expect(taken == [0, 1, 3, 4, 5, 2].map { chunks[$0] })
    }

    @Test func `nothing is left of a pass that was given up`() {
        let queue = ChunkQueue(chunks)
        queue.skipRest()
        queue.putLast { _ in 0 }
        #expect(queue.take() == nil)
    }

    /// Seeds decide whether the log begins with all pages set, as KVM's newer one, or with none.
    @Test(arguments: 0..<6 as Range<UInt64>) func `the samples of a chunk tell whether the guest writes there`(
        seed: UInt64
    ) throws {
        let machine = try SimulatedMachine(
            name: "source", simulation: Simulation(seed: seed), pageCounts: [60 * 512 + 40, 700])
        let tracker = DirtyTracker(machine: machine)
        try tracker.start()
        #expect(tracker.wordsPerChunk == 8 && tracker.chunks.count == 63)
        try tracker.sync()
        #expect(tracker.chunks.allSatisfy { tracker.writtenSampleCount($0) == 0 })
        for page in 0..<512 { machine.write(region: 0, page: 5 * 512 + page) }
        for page in 0..<256 { machine.write(region: 1, page: 100 + page) }
        try tracker.sync()
        let counts = tracker.chunks.map(tracker.writtenSampleCount)
        // Some writes are a device's, which the log does not see.
        #expect(counts[5] > 32 && counts[61] > 12 && counts.filter { $0 > 0 }.count == 2, "\(counts)")
        // No page is lost, watched or not.
        #expect(tracker.dirtyPageCount == 60 * 512 + 40 + 700)
    }
}
