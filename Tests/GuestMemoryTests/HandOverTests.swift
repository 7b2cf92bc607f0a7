import GuestMemory
import LinuxSystem
import Testing

@Suite("Handing memory over") struct HandOverTests {
    private func block(_ kind: MemoryMapping.Kind = .shared, pageCount: Int = 16) throws -> RAMBlock {
        RAMBlock(name: "ram", mapping: try MemoryMapping(kind, byteCount: pageCount * pageSize))
    }

    private func fill(_ block: RAMBlock, with byte: UInt8) {
        block.bytes(at: 0, count: block.byteCount).initializeMemory(as: UInt8.self, repeating: byte)
    }

    @Test func `a block that was adopted shows the same pages at the same address`() throws {
        let here = try block()
        let there = try block()
        fill(here, with: 0x5A)
        fill(there, with: 0x11)
        let address = there.hostAddress
        try there.adopt(try here.share())
        #expect(there.hostAddress == address)
        #expect(there.bytes(at: 0, count: there.byteCount).allSatisfy { $0 == 0x5A })
        there.bytes(at: 3 * pageSize, count: 1)[0] = 0xC3
        #expect(here.bytes(at: 3 * pageSize, count: 1)[0] == 0xC3)
        // Its second view is of the adopted pages as well: post-copy uses it later.
        let view = try there.secondView()
        #expect(view.bytes[3 * pageSize] == 0xC3)
    }

    @Test func `one of two may run the guest, and whoever gave it away may not`() throws {
        let here = try block()
        let there = try block()
        try there.adopt(try here.share())
        #expect(throws: MemoryHandOverError.isElsewhere(block: "ram")) { try there.lock?.take() }
        try here.lock?.release()
        try there.lock?.take()
        try there.lock?.take()
        #expect(throws: MemoryHandOverError.isElsewhere(block: "ram")) { try here.lock?.take() }
        #expect(throws: MemoryHandOverError.isElsewhere(block: "ram")) { _ = try here.share() }
        // And on from there.
        let third = try block()
        try third.adopt(try there.share())
        try there.lock?.release()
        try third.lock?.take()
    }

    @Test func `memory in which the guest has run on fits nobody who gave it away, even if the other ended`() throws {
        let here = try block()
        _ = try here.share()
        let lock = try #require(here.lock)
        // Taken by another that came to nothing: it goes on here.
        do {
            let there = try block()
            try there.adopt(try here.share())
            try lock.release()
            try there.lock?.take()
            #expect(throws: MemoryHandOverError.isElsewhere(block: "ram")) { try lock.take() }
            try there.abandon()
            try lock.take()
            try lock.beginUse()
        }
        // The other lets it run, gives it up, takes it back, and ends.
        do {
            let there = try block()
            try there.adopt(try here.share())
            try lock.release()
            try there.lock?.take()
            try there.lock?.beginUse()
            try there.lock?.beginUse()
            try there.lock?.release()
            try there.lock?.take()
            // It came back without having run elsewhere.
            try there.lock?.beginUse()
            try there.abandon()
        }
        for _ in 0..<2 {
            try lock.take()
            #expect(throws: MemoryHandOverError.hasRunElsewhere(block: "ram")) { try lock.beginUse() }
        }
        // With a new guest in it, it is this process's again.
        try lock.take()
        try lock.beginAnew()
        try lock.beginUse()
        try lock.release()
        try lock.take()
        try lock.beginUse()
    }

    @Test func `memory that is not used after all is let go of, and its lock is free with it`() throws {
        let here = try block()
        fill(here, with: 0x5A)
        let there = try block()
        try there.adopt(try here.share())
        try here.lock?.release()
        try there.lock?.take()
        try there.abandon()
        #expect(there.bytes(at: 0, count: there.byteCount).allSatisfy { $0 == 0 } && there.lock == nil)
        fill(there, with: 1)
        #expect(here.bytes(at: 0, count: here.byteCount).allSatisfy { $0 == 0x5A })
        try here.lock?.take()
    }

    @Test func `what does not fit is refused, and the block is as it was`() throws {
        let there = try block()
        fill(there, with: 0x11)
        let private1 = try block(.anonymous)
        #expect(throws: MemoryHandOverError.isPrivate(block: "ram")) { _ = try private1.share() }
        #expect(throws: MemoryHandOverError.isPrivate(block: "ram")) { try private1.adopt(try block().share()) }
        #expect(throws: MemoryHandOverError.size(block: "ram", here: 16 * pageSize, there: 8 * pageSize)) {
            try there.adopt(try block(pageCount: 8).share())
        }
        let pipe = try OwnedDescriptor.pipe()
        let noMemory = PassedDescriptor(try pipe.reading.duplicate())
        #expect(throws: MemoryHandOverError.noMemory(block: "ram")) { try there.adopt(noMemory) }
        #expect(there.bytes(at: 0, count: there.byteCount).allSatisfy { $0 == 0x11 } && there.lock == nil)
    }
}
