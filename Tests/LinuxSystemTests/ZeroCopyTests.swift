import Glibc
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

    @Test(.enabled(if: geteuid() == 0, "only root can be sure that it can give up the right to lock memory"))
    func `where no memory may be locked, it is copied, and everything arrives`() throws {
        let listener = try ListeningSocket(on: .tcp(host: "127.0.0.1", port: 0))
        let near = try StreamDescriptor(adopting: Socket(connectingTo: listener.address).takeDescriptor())
        let far = try listener.accept()
        try near.enableZeroCopy()
        var limit = rlimit()
        try #require(getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0)
        var none = rlimit(rlim_cur: 0, rlim_max: limit.rlim_max)
        try #require(setrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &none) == 0)
        defer { setrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) }
        let outcome = Mutex<(sent: UInt32, wasCopied: Bool, error: String)>((0, false, "privileges were not dropped"))
        let byteCount = 64 << 10
        // A thread's privileges are its own: those of the test remain.
        let sender = try BlockingThread(name: "unprivileged") {
            defer { near.endSending() }
            guard dropCapabilities() else { return }
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: byteCount, alignment: 4096)
            defer { memory.deallocate() }
            memory.initializeMemory(as: UInt8.self, repeating: 7)
            var vectors = MemoryVectors(capacity: 1)
            do throws(SystemError) {
                for _ in 0..<2 {
                    vectors.append(UnsafeRawBufferPointer(memory))
                    _ = try near.sendUncopied(&vectors)
                }
                let wasCopied = try near.finishZeroCopy()
                outcome.withLock { $0 = (near.zeroCopy.withLock { $0?.sentCount ?? 99 }, wasCopied, "") }
            } catch { outcome.withLock { $0.error = "\(error)" } }
        }
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 100_000)
        while received.count < 2 * byteCount {
            let count = try buffer.withUnsafeMutableBytes { try far.receive(into: $0) }
            if count == 0 { break }
            received += buffer[..<count]
        }
        sender.join()
        let (sent, wasCopied, error) = outcome.withLock { $0 }
        // Not one call was made without a copy: the kernel refused each with ENOBUFS.
        #expect(error == "" && sent == 0 && wasCopied)
        #expect(received.count == 2 * byteCount && received.allSatisfy { $0 == 7 })
    }

    @Test func `a UNIX socket is refused`() throws {
        let pair = try Socket.pair()
        let near = try StreamDescriptor(adopting: try pair.first.descriptor.duplicate())
        #expect(throws: SystemError.self) { try near.enableZeroCopy() }
    }
}

/// Leaves the calling thread no capability at all.
private func dropCapabilities() -> Bool {
    guard let function = dlopen(nil, RTLD_NOW).flatMap({ dlsym($0, "capset") }) else { return false }
    typealias SetCapabilities = @convention(c) (UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Int32
    // Safe: this is the type of capset(2). _LINUX_CAPABILITY_VERSION_3, this thread; two words each of three sets.
    var header: [UInt32] = [0x2008_0522, 0]
    var none = [UInt32](repeating: 0, count: 6)
    return unsafeBitCast(function, to: SetCapabilities.self)(&header, &none) == 0
}
