import BuiltInGuest
import GuestSupport
import KVM
import LinuxSystem
import Synchronization
import Testing

private let hasUserFault = (try? UserFault.probe(.systemCall)) != nil
private let pageSize = 4096

/// Answers faults on a thread of its own until stopped.
private final class FaultServer: Sendable {
    let addresses = Mutex<[UInt]>([])
    let failure = Mutex<String?>(nil)
    private let isStopping = Atomic<Bool>(false)
    private let thread = Mutex<BlockingThread?>(nil)
    private let fault: UserFault

    init() throws { fault = try UserFault() }

    func start(_ memory: GuestMapping, range: Range<Int>, content: @escaping @Sendable (Int) -> UInt64) throws {
        let base = memory.mapping.baseAddress
        try fault.register(base + range.lowerBound, byteCount: range.count, for: .missing)
        let started = UInt(bitPattern: base)
        let thread = try BlockingThread(name: "faults") { [self] in
            do {
                let poller = try Poller()
                try poller.add(fault.descriptor.number, for: .readable, key: 0)
                var page = [UInt64](repeating: 0, count: pageSize / 8)
                while !isStopping.load(ordering: .acquiring) {
                    _ = try poller.wait(for: .milliseconds(10))
                    for seen in try fault.readFaults() {
                        let address = seen.address & ~UInt(pageSize - 1)
                        addresses.withLock { $0.append(address - started) }
                        page[0] = content(Int(address - started))
                        try page.withUnsafeBytes { bytes in
                            _ = try fault.copy(bytes, to: UnsafeRawPointer(bitPattern: address) ?? bytes.baseAddress!)
                        }
                    }
                }
            } catch { failure.withLock { $0 = "\(error)" } }
        }
        self.thread.withLock { $0 = thread }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        thread.withLock { $0 }?.join()
    }
}

extension KVMTests {
    @Suite("Guest memory that arrives on demand", .enabled(if: hasUserFault, "userfaultfd(2) is not permitted here"))
    struct FaultTests {
        @Test(arguments: [MemoryMapping.Kind.anonymousSmallPages, .shared])
        func `each missing page is asked for once and the guest goes on with its content`(
            kind: MemoryMapping.Kind
        ) throws {
            let pageCount = 200
            let region = 6 << 20
            var configuration = BareMachine.Configuration()
            configuration.memoryKind = kind
            let machine = try BareMachine(configuration)
            let server = try FaultServer()
            try server.start(machine.memory, range: region..<(region + 16 << 20)) { UInt64($0) }
            try machine.boot(lively { $0.touchedPageCount = pageCount })
            try machine.resume()
            let isDone = machine.lines.waitForTouched(pass: 1)
            machine.stop()
            server.stop()
            try #require(isDone, "\(machine.lines.all) \(String(describing: machine.ending))")
            #expect(server.failure.withLock { $0 } == nil)
            let expected = (0..<pageCount).map { UInt(region + $0 * pageSize) }
            #expect(server.addresses.withLock { $0 } == expected)
            let first = machine.memory.bytes.loadUnaligned(fromByteOffset: region + 7 * pageSize, as: UInt64.self)
            // The content that arrived, raised by one in each pass.
            #expect(first > UInt64(region + 7 * pageSize) && first < UInt64(region + 7 * pageSize) + 1_000_000)
        }
    }
}
