import GuestMemory
import LinuxSystem
import MigrationTestSupport
import Testing

@testable import Migration

/// A channel that gives the bytes of a stream in pieces of random sizes.
private final class PiecewiseChannel: MigrationChannel, @unchecked Sendable {
    // Safe: used by the test's thread only.
    let address = "test"
    let isBidirectional = false
    private(set) var rest: ArraySlice<UInt8>
    private var random: SeededGenerator

    init(_ bytes: ArraySlice<UInt8>, random: SeededGenerator) {
        rest = bytes
        self.random = random
    }

    func receive(into buffer: UnsafeMutableRawBufferPointer) throws(ChannelError) -> Int {
        let count = min(rest.count, buffer.count, Int.random(in: 1...20_000, using: &random))
        buffer.copyBytes(from: rest.prefix(count))
        rest = rest.dropFirst(count)
        return count
    }

    func receive(some vectors: inout MemoryVectors) throws(ChannelError) -> Int {
        var left = Int.random(in: 1...20_000, using: &random)
        var total = 0
        while left > 0, !vectors.isEmpty, !rest.isEmpty {
            let piece = vectors.piece(0)
            let count = min(left, piece.count, rest.count)
            piece.copyBytes(from: rest.prefix(count))
            rest = rest.dropFirst(count)
            vectors.removeFirst(count)
            left -= count
            total += count
        }
        return total
    }

    /// Every third time there is nothing.
    func receive(now vectors: inout MemoryVectors) throws(ChannelError) -> Int? {
        if Int.random(in: 0..<3, using: &random) == 0 { return nil }
        return try receive(some: &vectors)
    }

    func receive(all vectors: inout MemoryVectors) throws(ChannelError) {
        while !vectors.isEmpty { if try receive(some: &vectors) == 0 { return } }
    }

    func send(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure { BackPressure() }
    func endSending() throws(ChannelError) {}
    func stopReceiving() {}
    func shutDown() {}
}

@Suite("Receiving runs of pages") struct RunReceiverTests {
    private static let recordByteCount = 8 + pageSize

    /// Records of pages 0 to `good`, then one of page `other`, then bytes of anything.
    private func stream(good: Int, other: Int, random: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        for page in Array(0..<good) + [other] {
            let word = UInt64(page * pageSize) | 0x08 | 0x20
            bytes += withUnsafeBytes(of: word.bigEndian) { Array($0) }
            bytes += [UInt8](repeating: UInt8.random(in: 1...255, using: &random), count: pageSize)
        }
        return bytes
            + (0..<Int.random(in: 0...9000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    @Test func `pages come into their places, and no byte behind them is lost, whatever the pieces`() throws {
        let pageCount = 400
        var receivedCount = 0
        var goodCount = 0
        for seed in 1...150 as ClosedRange<UInt64> {
            var random = SeededGenerator(seed: seed)
            let machine = try SimulatedMachine(
                name: "to", simulation: Simulation(seed: seed), pageCounts: [pageCount])
            let memory = ReceivedMemory(machine: machine)
            let good = Int.random(in: 0...300, using: &random)
            let bytes = stream(good: good, other: pageCount - 1, random: &random)
            // Of the first record the reader has a part already, or nothing.
            let begun = Int.random(in: 0..<Self.recordByteCount, using: &random)
            let channel = PiecewiseChannel(bytes[begun...], random: random)
            let reader = ChannelReader(channel: channel, capacity: 1 << 16)
            bytes[..<begun].withUnsafeBytes { reader.append(copying: $0) }

            let count = try RunReceiver(memory: memory).receive(region: 0, from: 0, reader)

            #expect(count <= good, "seed \(seed)")
            #expect(
                Array(reader.unreadBytes) + channel.rest == Array(bytes[(count * Self.recordByteCount)...]),
                "seed \(seed)")
            let block = machine.regions[0].block
            for page in 0..<pageCount {
                let expected = page < count ? bytes[page * Self.recordByteCount + 8] : 0
                let found = block.bytes(at: page * pageSize, count: pageSize)
                #expect(found.first == expected && found.last == expected, "seed \(seed), page \(page)")
                #expect(memory.isReceived(region: 0, page: page) == (page < count), "seed \(seed), page \(page)")
            }
            receivedCount += count
            goodCount += good
        }
        #expect(receivedCount > goodCount * 9 / 10, "\(receivedCount) of \(goodCount)")
    }

    @Test func `pages that came before are not written by a guess`() throws {
        var random = SeededGenerator(seed: 3)
        let machine = try SimulatedMachine(name: "to", simulation: Simulation(seed: 3), pageCounts: [64])
        let memory = ReceivedMemory(machine: machine)
        let block = machine.regions[0].block
        try memory.target(region: 0, offset: 20 * pageSize, pageCount: 1).initializeMemory(as: UInt8.self, repeating: 7)
        let bytes = stream(good: 40, other: 63, random: &random)
        let channel = PiecewiseChannel(bytes[...], random: random)
        let reader = ChannelReader(channel: channel, capacity: 1 << 16)
        let count = try RunReceiver(memory: memory).receive(region: 0, from: 0, reader)
        #expect(count <= 20)
        #expect(block.bytes(at: 20 * pageSize, count: pageSize).allSatisfy { $0 == 7 })
        #expect(Array(reader.unreadBytes) + channel.rest == Array(bytes[(count * Self.recordByteCount)...]))
    }

    @Test func `what is there comes into a room, and what is something else goes back to the reader`() throws {
        var (receivedCount, goodCount) = (0, 0)
        for seed in 1...150 as ClosedRange<UInt64> {
            var random = SeededGenerator(seed: seed)
            let good = Int.random(in: 0...300, using: &random)
            let bytes = stream(good: good, other: 999, random: &random)
            let begun = Int.random(in: 0..<Self.recordByteCount, using: &random)
            let channel = PiecewiseChannel(bytes[begun...], random: random)
            let reader = ChannelReader(channel: channel, capacity: 1 << 16)
            bytes[..<begun].withUnsafeBytes { reader.append(copying: $0) }
            let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 400 * pageSize, alignment: 4096)
            defer { room.deallocate() }
            let records = GuessedRecords()
            var count = 0
            for _ in 0..<1000 where reader.unreadByteCount < Self.recordByteCount && !reader.hasEnded {
                let pages = try #require(room.baseAddress) + count * pageSize
                let limit = Int.random(in: 1...64, using: &random)
                count += try records.receiveNow(pages, limit, at: count * pageSize, reader)
            }
            #expect(count <= good, "seed \(seed)")
            #expect(
                Array(reader.unreadBytes) + channel.rest == Array(bytes[(count * Self.recordByteCount)...]),
                "seed \(seed)")
            for page in 0..<count {
                let found = room[page * pageSize..<(page + 1) * pageSize]
                #expect(found.allSatisfy { $0 == bytes[page * Self.recordByteCount + 8] }, "seed \(seed), page \(page)")
            }
            receivedCount += count
            goodCount += good
        }
        #expect(receivedCount > goodCount * 9 / 10, "\(receivedCount) of \(goodCount)")
    }
}
