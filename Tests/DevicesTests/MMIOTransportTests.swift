import Devices
import GuestMemory
import LinuxSystem
import MigrationStream
import Testing

@Suite("virtio-mmio transport") struct MMIOTransportTests {
    private func withDriver(_ body: (inout TestDriver) throws -> Void) throws {
        var driver = try TestDriver(guest: TestGuest(), device: EntropyDevice())
        defer { driver.transport.end() }
        try body(&driver)
    }

    @Test func `an empty transport says so and ignores writes`() {
        let transport = MMIOTransport()
        transport.write(1, at: 0x70, width: 4)
        #expect(transport.read(at: 0x000, width: 4) == 0x7472_6976)
        #expect(transport.read(at: 0x004, width: 4) == 2)
        #expect(transport.read(at: 0x008, width: 4) == 0)
        #expect(transport.read(at: 0x00C, width: 4) == 0x554D_4551)
        #expect(transport.read(at: 0x070, width: 4) == 0)
        #expect(transport.read(at: 0x100, width: 1) == 0)
    }

    @Test func `a device shows its type, features and largest queue`() throws {
        try withDriver { driver in
            #expect(driver.read(0x008) == 4)
            // VERSION_1, event index, indirect descriptors, any layout, notify on empty.
            #expect(driver.offered == 1 << 32 | 1 << 29 | 1 << 28 | 1 << 27 | 1 << 24)
            #expect(driver.read(0x34) == 8)
            driver.write(1, to: 0x30)
            #expect(driver.read(0x34) == 0)
            #expect(driver.read(0xB0) == 0xFFFF_FFFF)
        }
    }

    @Test func `a driver brings it up and gets random bytes`() throws {
        try withDriver { driver in
            try driver.start()
            #expect(driver.status == 15)
            let used = try driver.exchange(0, [.init(address: 0x20_0000, byteCount: 64, isWritable: true)])
            #expect(used.map(\.byteCount) == [64])
            #expect(try driver.guest.memory.bytes(at: GuestAddress(0x20_0000), count: 64).contains { $0 != 0 })
            #expect(driver.guest.ram.dirtyBitmap.contains(PageIndex(0x200)))
        }
    }

    @Test(arguments: [1 << 32 | 1, 1 << 28, 0, 1 << 40 | 1 << 32])
    func `features that are not offered, or lack VERSION_1, are not OK`(features: UInt64) throws {
        try withDriver { driver in
            try driver.start(features: features)
            #expect(driver.status & 8 == 0)
            #expect(!driver.transport.status.contains(.featuresOK))
        }
    }

    @Test func `a reset forgets queues, features and interrupts`() throws {
        try withDriver { driver in
            try driver.start()
            _ = try driver.exchange(0, [.init(address: 0x20_0000, byteCount: 8, isWritable: true)])
            try driver.queues[0].offer([.init(address: 0x20_0000, byteCount: 8, isWritable: true)])
            driver.notify(0)
            #expect(driver.line.waitUntilHigh())
            driver.write(0, to: 0x70)
            #expect(driver.status == 0)
            #expect(!driver.line.isHigh)
            #expect(driver.read(0x60) == 0)
            driver.write(0, to: 0x30)
            #expect(driver.read(0x44) == 0)
            try driver.start()
            #expect(try driver.exchange(0, [.init(address: 0x20_0000, byteCount: 8, isWritable: true)]).count == 1)
        }
    }

    @Test func `the line is high until every reason is acknowledged`() throws {
        try withDriver { driver in
            try driver.start()
            try driver.queues[0].offer([.init(address: 0x20_0000, byteCount: 8, isWritable: true)])
            driver.notify(0)
            #expect(driver.line.waitUntilHigh())
            #expect(driver.read(0x60) == 1)
            driver.write(2, to: 0x64)
            #expect(driver.line.isHigh)
            driver.write(1, to: 0x64)
            #expect(!driver.line.isHigh)
        }
    }

    @Test(arguments: [0, 3, 32, 0xFFFF])
    func `a queue of a size it cannot have makes the device need a reset`(size: UInt32) throws {
        try withDriver { driver in
            try driver.start()
            driver.write(0, to: 0x44)
            driver.write(size, to: 0x38)
            driver.write(1, to: 0x44)
            #expect(driver.status & 64 != 0)
            #expect(driver.read(0x44) == 0)
            #expect(driver.read(0x60) & 2 != 0)
        }
    }

    @Test(
        arguments: [
            (0x80, 0x40_0000), (0x80, 0x10_0008), (0x90, 0x3F_FFFE), (0x90, 0x10_0001), (0xA0, 0x10_0002),
            (0xA4, 0xFFFF_FFFF),
        ] as [(UInt64, UInt32)])
    func `a ring that is not aligned memory makes the device need a reset`(register: UInt64, value: UInt32) throws {
        try withDriver { driver in
            try driver.start()
            driver.write(0, to: 0x44)
            driver.write(value, to: register)
            driver.write(1, to: 0x44)
            #expect(driver.status & 64 != 0)
        }
    }

    @Test func `a device that needs a reset works again after one`() throws {
        try withDriver { driver in
            try driver.start()
            try driver.queues[0].offer(head: 999)
            driver.notify(0)
            #expect(driver.line.waitUntilHigh())
            #expect(driver.status & 64 != 0)
            #expect(driver.transport.failure == .descriptorIndex(queue: 0, index: 999, tableSize: 8))
            try driver.start()
            #expect(driver.status == 15)
            #expect(try driver.exchange(0, [.init(address: 0x20_0000, byteCount: 8, isWritable: true)]).count == 1)
        }
    }

    @Test func `a paused device takes nothing and goes on when resumed`() throws {
        try withDriver { driver in
            try driver.start()
            driver.transport.pause()
            try driver.queues[0].offer([.init(address: 0x20_0000, byteCount: 8, isWritable: true)])
            driver.notify(0)
            driver.guest.ram.dirtyBitmap.clearAll()
            // Nothing may happen however long one waits; a paused device would have been served within microseconds.
            #expect(!driver.line.raised.wait(for: .milliseconds(100)))
            #expect(driver.guest.ram.dirtyBitmap.count == 0)
            driver.transport.resume()
            #expect(try driver.waitForUsed(0).count == 1)
        }
    }

    @Test func `registers answer only words`() throws {
        try withDriver { driver in
            #expect(driver.transport.read(at: 0x000, width: 1) == 0)
            #expect(driver.transport.read(at: 0x000, width: 8) == 0)
            driver.transport.write(1, at: 0x70, width: 1)
            #expect(driver.status == 0)
        }
    }

    /// QEMU's virtio-mmio offers 1024 places for every queue, and Linux takes them all.
    @Test func `rings that are larger than the device offers come in from a QEMU`() throws {
        let guest = try TestGuest()
        var driver = try TestDriver(guest: guest, device: EntropyDevice())
        try driver.start(queueSize: 8)
        driver.transport.pause()
        let saved = driver.transport.saveSection()
        var state = VirtioEntropyState()
        try state.load(saved.bytes, version: saved.version)
        state.virtio.queues[0].size = 1024
        state.virtio.queues[0].written.size = 1024

        var moved = try TestDriver(guest: guest, device: EntropyDevice())
        moved.transport.pause()
        try moved.transport.loadSection(state.save().bytes, version: saved.version)
        moved.transport.resume()
        moved.queues = [DriverQueue(memory: guest.memory, base: 0x10_0000, size: 1024)]
        for number in 0..<20 {
            let buffer = DriverQueue.Buffer(address: 0x8000 + UInt64(number) * 16, byteCount: 16, isWritable: true)
            let used = try moved.exchange(0, [buffer])
            #expect(used.map(\.byteCount) == [16] && used.map(\.head) == [UInt32(number)])
        }
        // What a driver sets up here is still held to what the device offers.
        moved.write(0, to: 0x70)
        #expect(moved.read(0x34) == 8)
    }
}
