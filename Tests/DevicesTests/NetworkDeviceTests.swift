import Devices
import GuestMemory
import LinuxSystem
import MigrationStream
import Synchronization
import Testing

/// A cable whose other end is the test: a pair of datagram-like queues with an event descriptor for the card.
final class TestCable: NetworkBackend {
    private struct State: Sendable {
        var incoming: [[UInt8]] = []
        var sent: [[UInt8]] = []
        var offloads: [TapDescriptor.Offloads] = []
        var isFull = false
    }
    private let state = Mutex(State())
    private let event: EventDescriptor
    let hasOffloads = true

    init() throws { event = try EventDescriptor() }

    var descriptorNumber: Int32 { event.number }
    var sent: [[UInt8]] { state.withLock { $0.sent } }
    var offloads: [TapDescriptor.Offloads] { state.withLock { $0.offloads } }
    var waitingCount: Int { state.withLock { $0.incoming.count } }

    /// A frame comes from the network; a header of zeros goes before it.
    func deliver(_ frame: [UInt8]) {
        state.withLock { $0.incoming.append([UInt8](repeating: 0, count: 12) + frame) }
        event.notify()
    }

    func readFrame(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int? {
        state.withLock { state in
            guard !state.incoming.isEmpty else {
                event.drain()
                return nil
            }
            let frame = state.incoming.removeFirst()
            buffer.copyBytes(from: frame)
            return frame.count
        }
    }

    func writeFrame(_ slices: [GuestMemorySlice]) throws(SystemError) -> Bool {
        state.withLock { $0.sent.append(slices.flatMap { Array($0.bytes) }) }
        return true
    }

    func writeFrame(_ bytes: [UInt8]) throws(SystemError) -> Bool {
        state.withLock { $0.sent.append([UInt8](repeating: 0, count: 12) + bytes) }
        return true
    }

    func setOffloads(_ offloads: TapDescriptor.Offloads) throws(SystemError) {
        state.withLock { $0.offloads.append(offloads) }
    }
}

@Suite("virtio-net") struct NetworkDeviceTests {
    private let cable: TestCable
    private let mac: [UInt8] = [0x52, 0x54, 0, 0x12, 0x34, 0x56]

    init() throws { cable = try TestCable() }

    private func start(features: UInt64 = 1 << 32 | 1 << 15 | 1 << 17) throws -> TestDriver {
        var driver = try TestDriver(guest: TestGuest(), device: NetworkDevice(backend: cable, mac: mac))
        try driver.start(features: features)
        return driver
    }

    private func frame(to destination: [UInt8], count: Int = 60, vlan: UInt16? = nil) -> [UInt8] {
        var frame = destination + [2, 0, 0, 0, 0, 1]
        if let vlan { frame += [0x81, 0, UInt8(vlan >> 8), UInt8(vlan & 0xFF)] }
        return frame + (0..<count - frame.count).map { UInt8(truncatingIfNeeded: $0) }
    }

    @Test func `the configuration space has the address and an up link`() throws {
        let driver = try start()
        defer { driver.transport.end() }
        #expect(
            (0..<8).map { UInt8(driver.transport.read(at: 0x100 + UInt64($0), width: 1)) } == mac + [
                1, 0,
            ])
    }

    @Test func `a frame of several buffers is sent whole, with its header`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        let bytes =
            [UInt8](repeating: 0, count: 12) + frame(to: [UInt8](repeating: 0xFF, count: 6), count: 100)
        try driver.guest.memory.write(bytes, at: GuestAddress(0x20_0000))
        let used = try driver.exchange(
            1, [.init(address: 0x20_0000, byteCount: 12), .init(address: 0x20_000C, byteCount: 100)])
        #expect(used.map(\.byteCount) == [0])
        #expect(cable.sent == [bytes])
    }

    @Test func `a received frame says that one buffer holds it`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        try driver.queues[0].offer([.init(address: 0x20_0000, byteCount: 2000, isWritable: true)])
        driver.notify(0)
        let bytes = frame(to: mac)
        cable.deliver(bytes)
        #expect(try driver.waitForUsed(0).map(\.byteCount) == [72])
        let received = try driver.guest.memory.bytes(at: GuestAddress(0x20_0000), count: 72)
        #expect(Array(received[..<12]) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
        #expect(Array(received[12...]) == bytes)
    }

    @Test func `a frame larger than a buffer is spread and published at once`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        for index in 0..<4 {
            try driver.queues[0].offer([
                .init(address: 0x20_0000 + UInt64(index) * 0x1000, byteCount: 1000, isWritable: true)
            ])
        }
        driver.notify(0)
        let bytes = frame(to: mac, count: 2500)
        cable.deliver(bytes)
        #expect(try driver.waitForUsed(0).map(\.byteCount) == [1000, 1000, 512])
        var received: [UInt8] = []
        for index in 0..<3 {
            received += try driver.guest.memory.bytes(
                at: GuestAddress(0x20_0000 + UInt64(index) * 0x1000), count: index < 2 ? 1000 : 512)
        }
        #expect(received[10] == 3)
        #expect(Array(received[12...]) == bytes)
    }

    @Test func `frames wait at the host until there are buffers`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        cable.deliver(frame(to: mac, count: 61))
        cable.deliver(frame(to: mac, count: 62))
        #expect(!driver.line.raised.wait(for: .milliseconds(100)))
        #expect(cable.waitingCount == 2)
        try driver.queues[0].offer([.init(address: 0x20_0000, byteCount: 2000, isWritable: true)])
        driver.notify(0)
        #expect(try driver.waitForUsed(0).map(\.byteCount) == [73])
        #expect(cable.waitingCount == 1)
    }

    @Test func `a frame without a whole header makes the device need a reset`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        #expect(try driver.exchange(1, [.init(address: 0x20_0000, byteCount: 11)]).isEmpty)
        #expect(driver.status & 64 != 0)
    }

    /// Does a command of the control queue; its answer.
    private func control(_ driver: inout TestDriver, _ bytes: [UInt8]) throws -> UInt8 {
        try driver.guest.memory.write(bytes + [0xEE], at: GuestAddress(0x30_0000))
        _ = try driver.exchange(
            2,
            [
                .init(address: 0x30_0000, byteCount: UInt32(bytes.count)),
                .init(address: 0x30_0000 + UInt64(bytes.count), byteCount: 1, isWritable: true),
            ])
        return try driver.guest.memory.bytes(
            at: GuestAddress(0x30_0000 + UInt64(bytes.count)), count: 1)[0]
    }

    @Test func `not promiscuous, only its own and listed addresses come in`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        let group: [UInt8] = [1, 0, 0x5E, 0, 0, 1]
        #expect(try control(&driver, [0, 0, 0]) == 0)
        #expect(try control(&driver, [1, 0, 0, 0, 0, 0, 1, 0, 0, 0] + group) == 0)
        for index in 0..<4 {
            try driver.queues[0].offer([
                .init(address: 0x20_0000 + UInt64(index) * 0x1000, byteCount: 2000, isWritable: true)
            ])
        }
        driver.notify(0)
        cable.deliver(frame(to: [2, 2, 2, 2, 2, 2], count: 61))
        cable.deliver(frame(to: [1, 0, 0x5E, 0, 0, 2], count: 62))
        cable.deliver(frame(to: mac, count: 63))
        cable.deliver(frame(to: group, count: 64))
        cable.deliver(frame(to: [UInt8](repeating: 0xFF, count: 6), count: 65))
        var counts: [UInt32] = []
        while counts.count < 3 {
            let used = try driver.waitForUsed(0).map(\.byteCount)
            try #require(!used.isEmpty)
            counts += used
        }
        #expect(counts == [75, 76, 77])
    }

    @Test(
        arguments: [
            [9, 9, 9], [0, 99, 1], [1, 0], [1, 0, 255, 255, 255, 255], [1, 1, 1, 2, 3], [2, 0, 0, 16],
            [2, 7, 1, 0],
            [5, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0],
        ] as [[UInt8]])
    func `commands that are not understood are refused`(bytes: [UInt8]) throws {
        var driver = try start()
        defer { driver.transport.end() }
        #expect(try control(&driver, bytes) == 1)
    }

    @Test func `VLANs that were removed do not come in`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        #expect(try control(&driver, [0, 0, 0]) == 0)
        #expect(try control(&driver, [2, 1, 5, 0]) == 0)
        for index in 0..<2 {
            try driver.queues[0].offer([
                .init(address: 0x20_0000 + UInt64(index) * 0x1000, byteCount: 2000, isWritable: true)
            ])
        }
        driver.notify(0)
        cable.deliver(frame(to: mac, count: 70, vlan: 5))
        cable.deliver(frame(to: mac, count: 71, vlan: 6))
        #expect(try driver.waitForUsed(0).map(\.byteCount) == [83])
    }

    @Test func `the driver's offloads reach the host and a reset takes them back`() throws {
        let driver = try start(features: 1 << 32 | 1 << 1 | 1 << 7)
        defer { driver.transport.end() }
        #expect(cable.offloads.last == [.checksum, .tcp4])
        driver.write(0, to: 0x70)
        #expect(cable.offloads.last == [])
    }

    @Test func `an announcement is a RARP frame and a request to the driver`() throws {
        let device = NetworkDevice(backend: cable, mac: mac)
        var driver = try TestDriver(guest: TestGuest(), device: device)
        defer { driver.transport.end() }
        try driver.start(features: 1 << 32 | 1 << 17 | 1 << 21)
        device.announce()
        let sent = try #require(cable.sent.first).dropFirst(12)
        #expect(sent.count == 60)
        #expect(Array(sent.prefix(14)) == [UInt8](repeating: 0xFF, count: 6) + mac + [0x80, 0x35])
        #expect(Array(sent.dropFirst(14).prefix(8)) == [0, 1, 8, 0, 6, 4, 0, 3])
        #expect(driver.line.isHigh && driver.read(0x60) == 2)
        #expect(driver.transport.read(at: 0x106, width: 2) == 3)
        driver.acknowledge()
        #expect(try control(&driver, [3, 0]) == 0)
        #expect(driver.transport.read(at: 0x106, width: 2) == 1)
    }

    @Test func `filters, address and rings move with the state`() throws {
        var driver = try start()
        defer { driver.transport.end() }
        let other: [UInt8] = [0x52, 0x54, 0, 1, 2, 3]
        #expect(try control(&driver, [0, 0, 0]) == 0)
        #expect(try control(&driver, [1, 1] + other) == 0)
        driver.transport.pause()
        let saved = driver.transport.saveSection()
        let nextCable = try TestCable()
        let next = try TestDriver(
            guest: driver.guest, device: NetworkDevice(backend: nextCable, mac: mac))
        defer { next.transport.end() }
        next.transport.pause()
        try next.transport.loadSection(saved.bytes, version: saved.version)
        #expect(next.transport.saveSection().bytes == saved.bytes)
        next.transport.resume()
        try driver.queues[0].offer([.init(address: 0x20_0000, byteCount: 2000, isWritable: true)])
        next.notify(0)
        nextCable.deliver(frame(to: mac))
        nextCable.deliver(frame(to: other, count: 64))
        #expect(next.line.waitUntilHigh())
        #expect(try driver.queues[0].takeUsed().map(\.byteCount) == [76])
    }
}
