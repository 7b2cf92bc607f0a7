import LinuxSystem
import Testing

@Suite("Memory mapping") struct MemoryMappingTests {
    @Test(arguments: [MemoryMapping.Kind.anonymous, .anonymousSmallPages, .shared])
    func `is zero at first, aligned to 2 MiB, and keeps what is written`(kind: MemoryMapping.Kind) throws {
        let memory = try MemoryMapping(kind, byteCount: 4 << 20)
        let bytes = memory.bytes
        #expect(UInt(bitPattern: memory.baseAddress) % (2 << 20) == 0)
        #expect(bytes[4095] == 0)
        bytes[3 << 20] = 0xA5
        #expect(bytes[3 << 20] == 0xA5)
    }

    @Test(arguments: [MemoryMapping.Kind.anonymousSmallPages, .shared])
    func `reads as zero where it was discarded, and only there`(kind: MemoryMapping.Kind) throws {
        let memory = try MemoryMapping(kind, byteCount: 8 * 4096)
        for page in 0..<8 { memory.bytes[page * 4096] = 7 }
        try memory.discard(offset: 2 * 4096, count: 3 * 4096)
        let first = (0..<8).map { memory.bytes[$0 * 4096] }
        #expect(first == [7, 7, 0, 0, 0, 7, 7, 7])
    }

    @Test func `a second view of shared memory shows the same pages`() throws {
        let memory = try MemoryMapping(.shared, byteCount: 4 * 4096)
        let view = try memory.secondView()
        memory.bytes[5000] = 42
        let seen = view.bytes[5000]
        #expect(seen == 42)
        #expect(view.baseAddress != memory.baseAddress)
    }

    @Test func `a shared mapping cannot change its size`() throws {
        let memory = try MemoryMapping(.shared, byteCount: 2 * 4096)
        let descriptor = OwnedDescriptor(adopting: memory.fileDescriptor)
        #expect(throws: SystemError.self) { try descriptor.truncate(to: 4096) }
        _ = descriptor.release()
    }

    @Test func `tells which pages are in memory`() throws {
        let memory = try MemoryMapping(.anonymousSmallPages, byteCount: 4 * 4096)
        memory.bytes[2 * 4096] = 1
        let resident = try memory.residentPages(offset: 0, count: 4 * 4096)
        #expect(resident == [false, false, true, false])
    }

    @Test func `tells which pages were never touched`() throws {
        let memory = try MemoryMapping(.anonymousSmallPages, byteCount: 140 * 4096)
        memory.bytes[3 * 4096] = 1
        memory.bytes[5 * 4096] = 1
        memory.bytes[129 * 4096] = 1
        let read = memory.bytes[7 * 4096]
        try memory.discard(offset: 5 * 4096, count: 4096)
        var words = [UInt64](repeating: 0x5555, count: 3)
        #expect(memory.findUntouchedPages(offset: 4096, count: 130 * 4096, into: &words))
        // Counted from page 1: 3, 7 and 129 were touched, 5 was given back.
        #expect(read == 0 && words == [~(1 << 2 | 1 << 6), ~0, 2])
        let shared = try MemoryMapping(.shared, byteCount: 64 * 4096)
        #expect(!shared.findUntouchedPages(offset: 0, count: 64 * 4096, into: &words), "another may have touched it")
    }

    @Test func `more memory than there is address space is an error, not a crash`() throws {
        #expect(throws: SystemError.self) {
            _ = try MemoryMapping(.anonymous, byteCount: 1 << 50).byteCount
        }
    }

    @Test(.enabled(if: freeHugePages >= 2, "no free huge pages of 2 MiB are set aside"))
    func `explicit huge pages are as large as asked for`() throws {
        let memory = try MemoryMapping(.hugePages(size: 2 << 20), byteCount: 4 << 20)
        memory.bytes[(4 << 20) - 1] = 9
        let kept = memory.bytes[(4 << 20) - 1]
        #expect(memory.pageSize == 2 << 20)
        #expect(kept == 9)
    }

    @Test(.enabled(if: freeHugePages == 0, "huge pages are set aside here"))
    func `huge pages that are not there are an error at once`() throws {
        #expect(throws: SystemError.self) {
            _ = try MemoryMapping(.hugePages(size: 2 << 20), byteCount: 2 << 20, reservesMemory: true).byteCount
        }
    }
}

private var freeHugePages: Int {
    let text = FileSystem.text(of: "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") ?? ""
    return Int(text.filter(\.isNumber)) ?? 0
}
