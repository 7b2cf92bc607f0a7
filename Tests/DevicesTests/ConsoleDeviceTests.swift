import Devices
import GuestMemory
import MigrationStream
import Testing

@Suite("Console") struct ConsoleDeviceTests {
    private let guest: TestGuest
    private let channel = TestChannel()
    private let buffer = DriverQueue.Buffer(address: 0x2000, byteCount: 64, isWritable: true)

    init() throws { guest = try TestGuest() }

    private func driver(ports: Int = 1) throws -> TestDriver {
        var driver = try TestDriver(
            guest: guest, device: ConsoleDevice(channel: channel, maximumPortCount: ports))
        try driver.start(features: 1 << 32 | (ports > 1 ? 2 : 0))
        return driver
    }

    private func text(_ count: UInt32) throws -> String {
        String(decoding: try guest.memory.bytes(at: GuestAddress(0x2000), count: Int(count)), as: UTF8.self)
    }

    /// A control message: port, event, value.
    private func message(_ event: UInt16, _ value: UInt16) -> [UInt8] {
        [0, 0, 0, 0, UInt8(event), 0, UInt8(value), 0]
    }

    private func tell(_ driver: inout TestDriver, _ event: UInt16, _ value: UInt16) throws {
        try guest.memory.write(message(event, value), at: GuestAddress(0x1000))
        _ = try driver.exchange(3, [.init(address: 0x1000, byteCount: 8)])
    }

    /// The next message of the device.
    private func hear(_ driver: inout TestDriver) throws -> [UInt8] {
        let used = try driver.exchange(2, [buffer])
        return try guest.memory.bytes(at: GuestAddress(0x2000), count: Int(used.first?.byteCount ?? 0))
    }

    @Test func `what the guest writes is sent, in order`() throws {
        var driver = try driver()
        for word in ["one ", "two ", "three"] {
            try guest.memory.write(Array(word.utf8), at: GuestAddress(0x1000))
            let used = try driver.exchange(1, [.init(address: 0x1000, byteCount: UInt32(word.utf8.count))])
            #expect(used.map(\.byteCount) == [0])
        }
        #expect(channel.sent == Array("one two three".utf8))
    }

    @Test func `what is typed waits for a buffer, and a buffer for what is typed`() throws {
        var driver = try driver()
        channel.type("early")
        let first = try driver.exchange(0, [buffer])
        #expect(try text(#require(first.first?.byteCount)) == "early")
        try driver.queues[0].offer([buffer])
        driver.notify(0)
        channel.type("late")
        let second = try driver.waitForUsed(0)
        #expect(try text(#require(second.first?.byteCount)) == "late")
    }

    @Test func `a small buffer takes a part and the rest follows`() throws {
        var driver = try driver()
        channel.type("abcdef")
        let used = try driver.exchange(0, [.init(address: 0x2000, byteCount: 4, isWritable: true)])
        #expect(try text(#require(used.first?.byteCount)) == "abcd")
        let rest = try driver.exchange(0, [buffer])
        #expect(try text(#require(rest.first?.byteCount)) == "ef")
    }

    @Test func `an emergency write needs no queue`() throws {
        let driver = try TestDriver(guest: guest, device: ConsoleDevice(channel: channel))
        driver.write(0x41, to: 0x108)
        #expect(channel.sent == [0x41])
    }

    @Test func `with many ports the device makes port 0 a console that is open`() throws {
        var driver = try driver(ports: 31)
        #expect(driver.read(0x104) == 31)
        try tell(&driver, 0, 1)
        #expect(try hear(&driver) == message(1, 1), "PORT_ADD")
        try tell(&driver, 3, 1)
        #expect(try hear(&driver) == message(4, 1), "CONSOLE_PORT")
        #expect(try hear(&driver) == message(6, 1), "PORT_OPEN")
        // Until the guest opens the port nothing is received.
        channel.type("x")
        try driver.queues[0].offer([buffer])
        driver.notify(0)
        try guest.memory.write(Array("out".utf8), at: GuestAddress(0x1000))
        _ = try driver.exchange(1, [.init(address: 0x1000, byteCount: 3)])
        #expect(channel.waiting == 1)
        try tell(&driver, 6, 1)
        // Received in the same go as the message, behind the interrupt of that.
        var used = try driver.queues[0].takeUsed()
        if used.isEmpty { used = try driver.waitForUsed(0) }
        #expect(used.map(\.byteCount) == [1] && channel.waiting == 0)
    }

    @Test func `messages of a hostile driver are bounded, and unknown ones ignored`() throws {
        var driver = try driver(ports: 2)
        for _ in 0..<200 { try tell(&driver, 0, 1) }
        try tell(&driver, 99, 7)
        _ = try driver.exchange(3, [.init(address: 0x1000, byteCount: 3)])
        var count = 0
        for _ in 0..<64 { count += try hear(&driver) == message(1, 1) ? 1 : 0 }
        #expect(count == 64)
        #expect(driver.status & 64 == 0)
    }

    @Test func `an open console stays open in another machine`() throws {
        var first = try driver(ports: 31)
        try tell(&first, 6, 1)
        first.transport.pause()
        let saved = first.transport.saveSection()
        let other = try TestDriver(
            guest: guest, device: ConsoleDevice(channel: channel, maximumPortCount: 31))
        other.transport.pause()
        try other.transport.loadSection(saved.bytes, version: saved.version)
        #expect(other.transport.saveSection().bytes == saved.bytes)
        other.transport.resume()
        // The driver goes on with the rings it has.
        var moved = other
        moved.queues = first.queues
        channel.type("here")
        let used = try moved.exchange(0, [buffer])
        #expect(try text(#require(used.first?.byteCount)) == "here")
    }

    @Test func `a state with another number of ports is refused`() throws {
        let first = try driver(ports: 31)
        first.transport.pause()
        let saved = first.transport.saveSection()
        let other = try TestDriver(guest: guest, device: ConsoleDevice(channel: channel, maximumPortCount: 2))
        other.transport.pause()
        #expect(throws: (any Error).self) { try other.transport.loadSection(saved.bytes, version: saved.version) }
    }
}
