import Devices
import GuestMemory
import LinuxSystem
import Testing

/// Drivers that lie. Each ends with a device that needs a reset, or with a request served; never with a crash.
@Suite("Hostile rings") struct HostileRingTests {
    private func expectFailure(
        _ expected: VirtioError, features: UInt64 = 1 << 32, _ arrange: (inout DriverQueue) throws -> Void
    ) throws {
        var driver = try TestDriver(guest: TestGuest(), device: EntropyDevice())
        defer { driver.transport.end() }
        try driver.start(features: features)
        try arrange(&driver.queues[0])
        driver.notify(0)
        #expect(driver.line.waitUntilHigh())
        #expect(driver.status & 64 != 0)
        #expect(driver.transport.failure == expected)
    }

    @Test func `an available index too far ahead is refused`() throws {
        try expectFailure(.availableIndex(queue: 0, index: 9, next: 0, size: 8)) { try $0.setAvailableIndex(9) }
    }

    @Test func `an available index that went backwards is refused`() throws {
        try expectFailure(.availableIndex(queue: 0, index: 0xFFFF, next: 0, size: 8)) {
            try $0.setAvailableIndex(0xFFFF)
        }
    }

    @Test func `a head outside the table is refused`() throws {
        try expectFailure(.descriptorIndex(queue: 0, index: 8, tableSize: 8)) { try $0.offer(head: 8) }
    }

    @Test func `a next outside the table is refused`() throws {
        try expectFailure(.descriptorIndex(queue: 0, index: 0xFFFF, tableSize: 8)) {
            try $0.setDescriptor(0, address: 0x1000, byteCount: 4, flags: 3, next: 0xFFFF)
            try $0.offer(head: 0)
        }
    }

    @Test func `a chain that points to itself is refused`() throws {
        try expectFailure(.chainTooLong(queue: 0, head: 0, limit: 8)) {
            try $0.setDescriptor(0, address: 0x1000, byteCount: 4, flags: 3, next: 0)
            try $0.offer(head: 0)
        }
    }

    @Test func `a loop of two descriptors is refused`() throws {
        try expectFailure(.chainTooLong(queue: 0, head: 1, limit: 8)) {
            try $0.setDescriptor(1, address: 0x1000, byteCount: 4, flags: 3, next: 2)
            try $0.setDescriptor(2, address: 0x1000, byteCount: 4, flags: 3, next: 1)
            try $0.offer(head: 1)
        }
    }

    @Test(
        arguments: [
            (0x40_0000, 1), (0x3F_FFFF, 2), (0, 0x40_0001), (0, 0xFFFF_FFFF), (.max, 1),
            (0xFFFF_FFFF_FFFF_F000, 0x1000),
            (0xFEB0_0000, 4),
        ] as [(UInt64, UInt32)])
    func `a buffer that is not all memory is refused`(address: UInt64, byteCount: UInt32) throws {
        let error = GuestMemoryError.notMemory(address: GuestAddress(address), byteCount: Int(byteCount))
        try expectFailure(.memory(queue: 0, error)) {
            try $0.offer([.init(address: address, byteCount: byteCount, isWritable: true)])
        }
    }

    @Test func `an empty buffer is refused`() throws {
        try expectFailure(.emptyBuffer(queue: 0, head: 0)) {
            try $0.offer([.init(address: 0x1000, byteCount: 0, isWritable: true)])
        }
    }

    @Test func `a readable buffer after a writable one is refused`() throws {
        try expectFailure(.readableAfterWritable(queue: 0, head: 0)) {
            try $0.offer([.init(address: 0x1000, byteCount: 4, isWritable: true), .init(address: 0x2000, byteCount: 4)])
        }
    }

    @Test(arguments: [0, 8, 24, 1025 * 16, 0xFFFF_FFF0] as [UInt32])
    func `an indirect table of a length no driver uses is refused`(byteCount: UInt32) throws {
        try expectFailure(.indirectTable(queue: 0, byteCount: byteCount)) {
            try $0.setDescriptor(0, address: 0x1000, byteCount: byteCount, flags: 4, next: 0)
            try $0.offer(head: 0)
        }
    }

    @Test func `an indirect table in an indirect table is refused`() throws {
        try expectFailure(.nestedIndirect(queue: 0, head: 0)) {
            try $0.setDescriptor(0, address: 0x1000, byteCount: 32, flags: 4, next: 0)
            try $0.setDescriptor(0, address: 0x1000, byteCount: 32, flags: 4, next: 0, table: GuestAddress(0x1000))
            try $0.offer(head: 0)
        }
    }

    @Test func `an indirect table that loops is refused`() throws {
        try expectFailure(.chainTooLong(queue: 0, head: 0, limit: 2)) {
            try $0.setDescriptor(0, address: 0x1000, byteCount: 32, flags: 4, next: 0)
            try $0.setDescriptor(0, address: 0x2000, byteCount: 4, flags: 3, next: 1, table: GuestAddress(0x1000))
            try $0.setDescriptor(1, address: 0x2000, byteCount: 4, flags: 3, next: 0, table: GuestAddress(0x1000))
            try $0.offer(head: 0)
        }
    }

    @Test func `an indirect table outside memory is refused`() throws {
        let error = GuestMemoryError.notMemory(address: GuestAddress(0x8000_0000), byteCount: 16)
        try expectFailure(.memory(queue: 0, error)) {
            try $0.setDescriptor(0, address: 0x8000_0000, byteCount: 32, flags: 4, next: 0)
            try $0.offer(head: 0)
        }
    }

    @Test func `an indirect table may be longer than the queue`() throws {
        var driver = try TestDriver(guest: TestGuest(), device: EntropyDevice())
        defer { driver.transport.end() }
        try driver.start(features: 1 << 32 | 1 << 28)
        let table = GuestAddress(0x1000)
        for index in 0..<20 {
            let flags: UInt16 = index == 19 ? 2 : 3
            try driver.queues[0].setDescriptor(
                index, address: 0x8000 + UInt64(index) * 16, byteCount: 16, flags: flags, next: UInt16(index + 1),
                table: table)
        }
        try driver.queues[0].setDescriptor(0, address: table.value, byteCount: 320, flags: 4, next: 0)
        try driver.queues[0].offer(head: 0)
        driver.notify(0)
        #expect(try driver.waitForUsed(0).map(\.byteCount) == [320])
    }

    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `random rings never crash the device`(seed: UInt64) throws {
        var random = Xorshift(state: seed)
        var driver = try TestDriver(guest: TestGuest(), device: EntropyDevice())
        defer { driver.transport.end() }
        for _ in 0..<20 {
            try driver.start(features: 1 << 32 | 1 << 28 | 1 << 29)
            var noise = [UInt8](repeating: 0, count: 0x6000)
            for index in noise.indices {
                noise[index] = UInt8(truncatingIfNeeded: random.next() >> (random.next() & 56))
            }
            // Addresses and lengths small enough to be memory now and then, flags of all kinds.
            for index in 0..<8 {
                noise.replaceSubrange(index * 16 + 3..<index * 16 + 8, with: [0, 0, 0, 0, 0])
                noise.replaceSubrange(index * 16 + 10..<index * 16 + 12, with: [0, 0])
                noise[index * 16 + 12] &= 7
                noise.replaceSubrange(index * 16 + 13..<index * 16 + 16, with: [0, noise[index * 16 + 14] & 9, 0])
            }
            try driver.guest.memory.write(noise, at: GuestAddress(0x10_0000))
            try driver.queues[0].setAvailableIndex(UInt16(random.next() % 10))
            driver.notify(0)
            // Quiet means that the random requests are behind us.
            driver.transport.pause()
            driver.transport.resume()
        }
        // A well-behaved driver finds the device alive.
        try driver.start()
        let used = try driver.exchange(0, [.init(address: 0x20_0000, byteCount: 4, isWritable: true)])
        #expect(used.map(\.byteCount) == [4])
    }

    @Test func `a driver that changes its rings while they are read does no harm`() throws {
        let guest = try TestGuest()
        var driver = try TestDriver(guest: guest, device: EntropyDevice())
        defer { driver.transport.end() }
        try driver.start(features: 1 << 32 | 1 << 28)
        let finished = Gate()
        let scribbler = try BlockingThread(name: "scribbler") {
            var random = Xorshift(state: 7)
            while !finished.isOpen {
                let place = GuestAddress(0x10_0000 + (random.next() % 0x800) * 8)
                try? guest.memory.write(random.next() & random.next() & 0x7_003F_FFFF_FFFF, at: place)
                try? guest.memory.storeReleasing16(
                    UInt16(truncatingIfNeeded: random.next() & 15), at: GuestAddress(0x10_4002))
            }
        }
        for _ in 0..<300 {
            driver.notify(0)
            driver.transport.pause()
            driver.transport.resume()
            if driver.status & 64 != 0 { try driver.start(features: 1 << 32 | 1 << 28) }
        }
        finished.open()
        scribbler.join()
        try driver.start()
        #expect(try driver.exchange(0, [.init(address: 0x20_0000, byteCount: 4, isWritable: true)]).count == 1)
    }
}

struct Xorshift: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
