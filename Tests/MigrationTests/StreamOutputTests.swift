import GuestMemory
import LinuxSystem
import MigrationTestSupport
import Testing

@testable import Migration

/// A channel that remembers how much each call sent, and what.
private final class RecordingChannel: MigrationChannel, @unchecked Sendable {
    // Safe: used by the test's thread only.
    let address = "test"
    let isBidirectional = false
    private(set) var sizes: [Int] = []
    private(set) var bytes: [UInt8] = []

    func send(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure {
        sizes.append(vectors.byteCount)
        for index in 0..<vectors.count { bytes += vectors.piece(index) }
        vectors.removeAll()
        return BackPressure()
    }

    func receive(into buffer: UnsafeMutableRawBufferPointer) throws(ChannelError) -> Int { 0 }
    func receive(some vectors: inout MemoryVectors) throws(ChannelError) -> Int { 0 }
    func receive(all vectors: inout MemoryVectors) throws(ChannelError) {}
    func endSending() throws(ChannelError) {}
    func stopReceiving() {}
    func shutDown() {}
}

@Suite("What goes over one channel") struct StreamOutputTests {
    private func writer(_ channel: RecordingChannel) -> (StreamOutput, StreamPageWriter) {
        let control = OutgoingControl(runtime: SystemRuntime(), maximumBandwidth: 0)
        let output = StreamOutput(channel: channel, control: control, isMultifd: false)
        return (output, StreamPageWriter(output: output, counters: control.counters, findsZeroPages: true))
    }

    @Test func `pushed pages are sent in small pieces, and are the same bytes`() throws {
        let machine = try SimulatedMachine(name: "from", simulation: Simulation(seed: 5), pageCounts: [200])
        let block = machine.regions[0].block
        for page in 0..<200 where page % 50 != 49 {
            block.bytes(at: page * pageSize, count: pageSize).initializeMemory(as: UInt8.self, repeating: 7)
        }
        let (whole, parts) = (RecordingChannel(), RecordingChannel())
        for (channel, sentAtOnce) in [(whole, Int.max), (parts, 64 << 10)] {
            let (output, writer) = writer(channel)
            output.isLimited = false
            output.sentAtOnce = sentAtOnce
            try writer.append(region: 0, block: block, first: 0, pageCount: 200)
            try writer.finishPass()
        }
        #expect(whole.sizes.count == 1 && parts.bytes == whole.bytes)
        #expect(parts.sizes.count > 10, "\(parts.sizes)")
        #expect(parts.sizes.allSatisfy { $0 <= 64 << 10 + 2 * (8 + pageSize) }, "\(parts.sizes)")
    }
}
