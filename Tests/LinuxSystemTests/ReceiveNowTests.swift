import Testing

@testable import LinuxSystem

@Suite("Receiving what is there") struct ReceiveNowTests {
    private func receive(_ byteCount: Int, from descriptor: StreamDescriptor) throws -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: byteCount)
        var vectors = MemoryVectors(capacity: 1)
        let count = try buffer.withUnsafeMutableBytes { bytes in
            vectors.append(bytes.baseAddress.unsafelyUnwrapped, count: byteCount)
            return try descriptor.receiveNow(&vectors)
        }
        return count.map { Array(buffer.prefix($0)) }
    }

    @Test func `gives what has come, nothing when nothing has, and none at the end`() throws {
        let pair = try Socket.pair()
        let near = try StreamDescriptor(adopting: try pair.first.descriptor.duplicate())
        let far = try StreamDescriptor(adopting: try pair.second.descriptor.duplicate())
        #expect(try receive(8, from: far) == nil)
        var bytes: [UInt8] = [1, 2, 3, 4, 5]
        try bytes.withUnsafeMutableBytes { buffer in
            var vectors = MemoryVectors(capacity: 1)
            vectors.append(buffer.baseAddress.unsafelyUnwrapped, count: buffer.count)
            _ = try near.send(&vectors)
        }
        #expect(try receive(3, from: far) == [1, 2, 3])
        #expect(try receive(8, from: far) == [4, 5])
        #expect(try receive(8, from: far) == nil)
        near.endSending()
        #expect(try receive(8, from: far) == [])
    }

    @Test func `a pipe cannot tell`() throws {
        let pipe = try OwnedDescriptor.pipe()
        #expect(try receive(8, from: try StreamDescriptor(adopting: try pipe.reading.duplicate())) == nil)
    }
}
