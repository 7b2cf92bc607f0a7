import Synchronization
import Testing

@testable import LinuxSystem

@Suite("Lending memory", .timeLimit(.minutes(2))) struct LendingTests {
    /// Both ends of a connection; the first is ready to lend.
    private func connection() throws -> (near: StreamDescriptor, far: StreamDescriptor) {
        let pair = try Socket.pair()
        let near = try StreamDescriptor(adopting: try pair.first.descriptor.duplicate())
        #expect(near.enableLending())
        return (near, try StreamDescriptor(adopting: try pair.second.descriptor.duplicate()))
    }

    private func receive(_ byteCount: Int, from descriptor: StreamDescriptor) throws -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: byteCount)
        var vectors = MemoryVectors(capacity: 1)
        try buffer.withUnsafeMutableBytes { bytes in
            vectors.append(bytes.baseAddress.unsafelyUnwrapped, count: byteCount)
            while !vectors.isEmpty, try descriptor.receive(&vectors, all: true) > 0 {}
        }
        return buffer
    }

    @Test(arguments: [MemoryMapping.Kind.anonymous, .anonymousSmallPages, .shared])
    func `what arrives is what the memory holds when it is received`(kind: MemoryMapping.Kind) throws {
        let (near, far) = try connection()
        let memory = try MemoryMapping(kind, byteCount: 16 * 4096)
        for page in 0..<16 { memory.bytes[page * 4096] = UInt8(page) }
        var vectors = MemoryVectors(capacity: 16)
        // Pages 0 and 1 as one piece, and others that do not follow one another.
        for page in [0, 1, 4, 9, 15] { vectors.append(memory.baseAddress + page * 4096, count: 4096) }
        _ = try near.sendLent(&vectors)
        let isDone = vectors.isEmpty
        #expect(isDone)
        memory.bytes[4 * 4096] = 99
        let bytes = try receive(5 * 4096, from: far)
        #expect((0..<5).map { bytes[$0 * 4096] } == [0, 1, 99, 9, 15])
    }

    @Test func `memory that is unmapped before it was received arrives all the same`() throws {
        let (near, far) = try connection()
        func lend() throws {
            let memory = try MemoryMapping(.anonymous, byteCount: 8 * 4096)
            for page in 0..<8 { memory.bytes[page * 4096] = UInt8(page + 1) }
            var vectors = MemoryVectors(capacity: 1)
            vectors.append(memory.baseAddress, count: 8 * 4096)
            _ = try near.sendLent(&vectors)
        }
        try lend()
        let bytes = try receive(8 * 4096, from: far)
        #expect((0..<8).map { bytes[$0 * 4096] } == [1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test func `more than pipe and socket hold goes on as it is received, and the socket pushes back`() throws {
        let (near, far) = try connection()
        let byteCount = 16 << 20
        let memory = try MemoryMapping(.anonymous, byteCount: byteCount)
        for page in 0..<byteCount / 4096 { memory.bytes[page * 4096 + page % 4096] = UInt8(page % 251 + 1) }
        let received = Mutex<[UInt8]>([])
        let receiver = try BlockingThread(name: "receiver") {
            let bytes = try? receive(byteCount, from: far)
            received.withLock { $0 = bytes ?? [] }
        }
        var vectors = MemoryVectors(capacity: 1)
        vectors.append(memory.baseAddress, count: byteCount)
        let pressure = try near.sendLent(&vectors)
        receiver.join()
        let isEqual = received.withLock { bytes in
            bytes.count == byteCount && bytes.withUnsafeBytes { $0.elementsEqual(memory.bytes) }
        }
        #expect(isEqual)
        #expect(pressure.byteCount > 0 && pressure.duration > .zero)
    }

    @Test func `a lender whose socket is full ends when it is shut down, one whose peer has gone by an error`() throws {
        let (near, far) = try connection()
        let memory = try MemoryMapping(.anonymous, byteCount: 64 << 20)
        let failure = Mutex<SystemError?>(nil)
        let lender = try BlockingThread(name: "lender") {
            var vectors = MemoryVectors(capacity: 1)
            vectors.append(memory.baseAddress, count: memory.byteCount)
            do throws(SystemError) { _ = try near.sendLent(&vectors) } catch { failure.withLock { $0 = error } }
        }
        _ = try receive(4096, from: far)
        near.shutDown()
        lender.join()
        #expect(failure.withLock { $0 } != nil)
        let (other, peer) = try connection()
        peer.shutDown()
        var vectors = MemoryVectors(capacity: 1)
        vectors.append(memory.baseAddress, count: 4096)
        // A signal would end this process.
        #expect(throws: SystemError.self) { try other.sendLent(&vectors) }
    }

    @Test func `nothing is lent over TCP, nor through a pipe`() throws {
        let listener = try ListeningSocket(on: .tcp(host: "127.0.0.1", port: 0))
        let near = try StreamDescriptor(adopting: Socket(connectingTo: listener.address).takeDescriptor())
        let pipe = try OwnedDescriptor.pipe()
        let writing = try StreamDescriptor(adopting: try pipe.writing.duplicate())
        #expect(!near.enableLending() && !writing.enableLending())
    }
}
