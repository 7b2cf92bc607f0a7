import LinuxSystem
import Synchronization
import Testing

private let hasUserFault = (try? UserFault.probe(.systemCall)) != nil
private let pageSize = 4096

/// Resolves faults with `resolve` on a thread of its own while `touch` runs; the faults seen.
private func serveFaults(
    of fault: borrowing UserFault, touching touch: @escaping @Sendable () -> Void,
    resolve: (UserFault.Fault) throws -> Void
) throws -> [UserFault.Fault] {
    let poller = try Poller()
    try poller.add(fault.descriptor.number, for: .readable, key: 1)
    let ended = try EventDescriptor()
    let endedNumber = ended.number
    try poller.add(endedNumber, for: .readable, key: 2)
    let duplicate = try ended.descriptor.duplicate().release()
    let thread = try BlockingThread(name: "touch") {
        touch()
        let event = OwnedDescriptor(adopting: duplicate)
        var one: UInt64 = 1
        withUnsafeBytes(of: &one) { bytes in try? event.write(all: bytes) }
    }
    var faults: [UserFault.Fault] = []
    loop: while true {
        let ready = try poller.wait(for: .seconds(10))
        if ready.isEmpty { break }
        for entry in ready {
            if entry.key == 2 { break loop }
            for seen in try fault.readFaults() {
                faults.append(seen)
                try resolve(seen)
            }
        }
    }
    thread.join()
    return faults
}

@Suite("User fault", .enabled(if: hasUserFault, "userfaultfd(2) is not permitted here"))
struct UserFaultTests {
    @Test func `a missing page waits for its content`() throws {
        let memory = try MemoryMapping(.anonymousSmallPages, byteCount: 4 * pageSize)
        let fault = try UserFault()
        try fault.register(memory.baseAddress, byteCount: memory.byteCount, for: .missing)
        let seen = SeenByte()
        nonisolated(unsafe) let bytes = memory.bytes
        let content = [UInt8](repeating: 0x5A, count: pageSize)
        let base = memory.baseAddress
        let touch: @Sendable () -> Void = { seen.value.store(bytes[2 * pageSize + 9], ordering: .releasing) }
        let faults = try serveFaults(of: fault, touching: touch) {
            let page = UnsafeRawPointer(bitPattern: $0.address & ~UInt(pageSize - 1))
            let outcome = try content.withUnsafeBytes { try fault.copy($0, to: page ?? UnsafeRawPointer(base)) }
            #expect(outcome == .done(byteCount: pageSize))
        }
        #expect(faults.map { $0.address - UInt(bitPattern: base) } == [UInt(2 * pageSize)])
        #expect(faults.map(\.isWrite) == [false])
        #expect(seen.value.load(ordering: .acquiring) == 0x5A)
    }

    @Test func `a page that is there already is said to be, and keeps its content`() throws {
        let memory = try MemoryMapping(.anonymousSmallPages, byteCount: pageSize)
        memory.bytes[0] = 3
        let fault = try UserFault()
        try fault.register(memory.baseAddress, byteCount: memory.byteCount, for: .missing)
        let outcome = try [UInt8](repeating: 9, count: pageSize).withUnsafeBytes {
            try fault.copy($0, to: memory.baseAddress)
        }
        let kept = memory.bytes[0]
        #expect(outcome == .alreadyThere)
        #expect(kept == 3)
    }

    @Test func `pages of shared memory that a second view filled become present`() throws {
        let features = try UserFault.probe(.systemCall)
        try #require(features.contains(.minorSharedMemory))
        let memory = try MemoryMapping(.shared, byteCount: 4 * pageSize)
        let view = try memory.secondView()
        view.bytes[pageSize] = 0x77
        let fault = try UserFault(features: [.minorSharedMemory, .missingSharedMemory])
        try fault.register(memory.baseAddress, byteCount: memory.byteCount, for: [.missing, .minor])
        let outcome = try fault.makePresent(memory.baseAddress + pageSize, byteCount: pageSize)
        let seen = memory.bytes[pageSize]
        #expect(outcome == .done(byteCount: pageSize))
        #expect(seen == 0x77)
    }

    @Test func `moved pages arrive and leave a hole`() throws {
        let features = try UserFault.probe(.systemCall)
        try #require(features.contains(.move))
        let memory = try MemoryMapping(.anonymousSmallPages, byteCount: 8 * pageSize)
        let staging = try MemoryMapping(.anonymousSmallPages, byteCount: 8 * pageSize)
        for page in 0..<8 { staging.bytes[page * pageSize] = UInt8(page + 1) }
        let fault = try UserFault(features: .move)
        try fault.register(memory.baseAddress, byteCount: memory.byteCount, for: .missing)
        let outcome = try fault.move(from: staging.baseAddress, to: memory.baseAddress, byteCount: 8 * pageSize)
        let arrived = (0..<8).map { memory.bytes[$0 * pageSize] }
        let left = (0..<8).map { staging.bytes[$0 * pageSize] }
        #expect(outcome == .done(byteCount: 8 * pageSize))
        #expect(arrived == [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(left == [UInt8](repeating: 0, count: 8))
    }

    @Test func `zeroed pages read as zero`() throws {
        let memory = try MemoryMapping(.anonymousSmallPages, byteCount: 2 * pageSize)
        let fault = try UserFault()
        try fault.register(memory.baseAddress, byteCount: memory.byteCount, for: .missing)
        let outcome = try fault.zero(memory.baseAddress, byteCount: 2 * pageSize)
        let first = memory.bytes[0]
        #expect(outcome == .done(byteCount: 2 * pageSize))
        #expect(first == 0)
    }
}

private final class SeenByte: Sendable {
    let value = Atomic<UInt8>(0)
}
