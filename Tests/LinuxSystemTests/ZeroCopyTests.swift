import Synchronization
import Testing

@testable import LinuxSystem

@Suite("Sending without a copy", .timeLimit(.minutes(2))) struct ZeroCopyTests {
    @Test func `calls are counted until the kernel has let go of their memory, also past the end of the counter`() {
        var progress = ZeroCopyProgress()
        for _ in 0..<3 { progress.addSend() }
        progress.complete(0, 1, wasCopied: true)
        #expect(progress.pendingCount == 1)
        progress.complete(2, 2, wasCopied: false)
        #expect(progress.pendingCount == 0)
        let partly = progress.look()
        #expect(!partly)
        progress.addSend()
        progress.complete(3, 3, wasCopied: true)
        let all = progress.look()
        let nothing = progress.look()
        #expect(all && !nothing)
    }

    @Test func `everything arrives, and the kernel has let go of it at the end`() throws {
        let listener = try ListeningSocket(on: .tcp(host: "127.0.0.1", port: 0))
        let near = try StreamDescriptor(adopting: Socket(connectingTo: listener.address).takeDescriptor())
        let far = try listener.accept()
        try near.enableZeroCopy()
        let byteCount = 64 << 10
        let rounds = 400
        let sum = Mutex(0)
        let receiver = try BlockingThread(name: "receiver") {
            var buffer = [UInt8](repeating: 0, count: 100_000)
            while let count = try? buffer.withUnsafeMutableBytes({ try far.receive(into: $0) }), count > 0 {
                sum.withLock { $0 += buffer[..<count].reduce(0) { $0 + Int($1) } }
            }
        }
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 4096)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 3)
        var vectors = MemoryVectors(capacity: 2)
        for _ in 0..<rounds {
            vectors.append(UnsafeRawBufferPointer(memory))
            _ = try near.sendUncopied(&vectors)
        }
        let wasCopied = try near.finishZeroCopy()
        let pendingCount = near.zeroCopy.withLock { $0?.pendingCount }
        // A loopback copies what is sent over it.
        #expect(wasCopied && pendingCount == 0)
        near.endSending()
        receiver.join()
        #expect(sum.withLock { $0 } == 3 * byteCount * rounds)
    }

    @Test func `a UNIX socket is refused`() throws {
        let pair = try Socket.pair()
        let near = try StreamDescriptor(adopting: try pair.first.descriptor.duplicate())
        #expect(throws: SystemError.self) { try near.enableZeroCopy() }
    }
}
