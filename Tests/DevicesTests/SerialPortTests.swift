import Devices
import MigrationStream
import Synchronization
import Testing

/// A channel whose other end is the test.
final class TestChannel: ByteChannel {
    private struct State: Sendable {
        var sent: [UInt8] = []
        var input: [UInt8] = []
        var handler: (@Sendable () -> Void)?
    }
    private let state = Mutex(State())

    var sent: [UInt8] { state.withLock { $0.sent } }
    var waiting: Int { state.withLock { $0.input.count } }

    func type(_ text: String) {
        let handler = state.withLock { state in
            state.input += Array(text.utf8)
            return state.handler
        }
        handler?()
    }

    func send(_ bytes: [UInt8]) { state.withLock { $0.sent += bytes } }
    func take(_ count: Int) -> [UInt8] {
        state.withLock { state in
            defer { state.input.removeFirst(min(count, state.input.count)) }
            return Array(state.input.prefix(count))
        }
    }
    func onInput(_ handler: @escaping @Sendable () -> Void) { state.withLock { $0.handler = handler } }
}

@Suite("Serial port") struct SerialPortTests {
    private let line = TestLine()
    private let channel = TestChannel()
    private let port: SerialPort

    init() { port = SerialPort(line: line, channel: channel) }

    private func read(_ offset: UInt64) -> UInt8 { UInt8(port.read(at: offset, width: 1)) }
    private func write(_ value: UInt8, _ offset: UInt64) { port.write(UInt64(value), at: offset, width: 1) }
    private func drain() -> String {
        var bytes: [UInt8] = []
        while read(5) & 1 == 1 { bytes.append(read(0)) }
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test func `the registers after reset are a 16550's`() {
        #expect((1...7).map { read(UInt64($0)) } == [0, 1, 0, 8, 0x60, 0xB0, 0])
    }

    @Test func `a byte written is sent and the transmitter is empty at once`() {
        write(0x41, 0)
        #expect(channel.sent == [0x41])
        #expect(read(5) & 0x60 == 0x60)
    }

    @Test func `the divider hides the data and interrupt registers`() {
        write(0x83, 3)
        write(0x0C, 0)
        write(0x01, 1)
        #expect(read(0) == 0x0C && read(1) == 0x01)
        write(0x03, 3)
        #expect(read(1) == 0)
        #expect(channel.sent.isEmpty)
    }

    @Test func `enabling the transmit interrupt raises it until it is identified`() {
        write(2, 1)
        #expect(line.isHigh)
        #expect(read(2) & 0x0F == 2)
        #expect(!line.isHigh)
        #expect(read(2) & 0x0F == 1)
        write(0x41, 0)
        #expect(line.isHigh)
        write(0, 1)
        #expect(!line.isHigh)
    }

    @Test func `without a FIFO one byte at a time comes in and none is lost`() {
        write(1, 1)
        channel.type("abc")
        #expect(channel.waiting == 2)
        #expect(line.isHigh && read(2) & 0x0F == 4)
        #expect(drain() == "abc")
        #expect(!line.isHigh)
    }

    @Test func `a FIFO takes sixteen bytes and the rest as it is read`() {
        write(1, 2)
        channel.type("0123456789abcdefghij")
        #expect(channel.waiting == 4)
        #expect(drain() == "0123456789abcdefghij")
    }

    @Test func `below the trigger level the interrupt says time-out, at it data`() {
        write(0x81, 2)
        write(1, 1)
        channel.type("1234567")
        #expect(line.isHigh && read(2) == 0xCC)
        channel.type("8")
        #expect(read(2) == 0xC4)
        #expect(drain() == "12345678")
        #expect(read(2) == 0xC1 && !line.isHigh)
    }

    @Test func `clearing the FIFO drops what is in it`() {
        write(1, 2)
        channel.type("lost")
        write(3, 2)
        #expect(read(5) & 1 == 0)
        channel.type("kept")
        #expect(drain() == "kept")
    }

    @Test func `loopback returns bytes and modem lines to the driver`() {
        write(0x1B, 4)
        write(0x5A, 0)
        #expect(channel.sent.isEmpty)
        #expect(read(0) == 0x5A)
        // DTR, RTS and OUT2 appear as DSR, CTS and DCD.
        #expect(read(6) == 0xB0)
    }

    @Test func `overrun in loopback is reported once`() {
        write(0x10, 4)
        write(1, 0)
        write(2, 0)
        #expect(read(5) & 2 == 2)
        #expect(read(5) & 2 == 0)
    }

    @Test func `a paused port takes nothing from the host`() {
        port.pause()
        channel.type("x")
        #expect(channel.waiting == 1)
        port.resume()
        #expect(drain() == "x")
    }

    @Test func `a state with bytes in the FIFO moves to another port`() throws {
        write(1, 2)
        write(1, 1)
        write(0xA5, 7)
        channel.type("moved")
        port.pause()
        let saved = port.saveSection()
        let otherLine = TestLine()
        let other = SerialPort(line: otherLine, channel: TestChannel())
        try other.loadSection(saved.bytes, version: saved.version)
        #expect(otherLine.isHigh)
        #expect(other.read(at: 7, width: 1) == 0xA5)
        let text = (0..<5).map { _ in UInt8(other.read(at: 0, width: 1)) }
        #expect(String(decoding: text, as: UTF8.self) == "moved")
        #expect(!otherLine.isHigh)
    }

    @Test func `bytes in QEMU's transmit queue are sent on arrival`() throws {
        var state = SerialState()
        state.port.lineStatus = 0
        state.port.transmitRetryCount = 1
        state.port.transmitShift = 0x31
        state.port.transmitQueue.ring[3] = 0x32
        state.port.transmitQueue.head = 3
        state.port.transmitQueue.count = 1
        port.loadState(state)
        #expect(channel.sent == [0x31, 0x32])
        #expect(read(5) & 0x60 == 0x60)
        #expect(port.saveState().port.transmitRetryCount == 0)
    }

    @Test func `accesses of other widths than a byte do nothing`() {
        #expect(port.read(at: 0, width: 4) == .max)
        port.write(0x41, at: 0, width: 2)
        #expect(channel.sent.isEmpty)
    }
}

@Suite("Generic event device") struct GenericEventDeviceTests {
    private final class Receiver: SystemEventReceiver {
        let events = Mutex<[SystemEvent]>([])
        func receive(_ event: SystemEvent) { events.withLock { $0.append(event) } }
    }

    private let line = TestLine()
    private let receiver = Receiver()
    private let device: GenericEventDevice

    init() { device = GenericEventDevice(line: line, receiver: receiver) }

    @Test func `the power button is one edge and an event that reading clears`() {
        device.pressPowerButton()
        #expect(line.edges == 1 && !line.isHigh)
        #expect(device.read(at: 0, width: 4) == 2)
        #expect(device.read(at: 0, width: 4) == 0)
    }

    @Test(arguments: [(0x34, true), (0x14, false), (0x30, false), (0x20, false)] as [(UInt64, Bool)])
    func `only sleep type 5 with the enable bit is a shutdown`(value: UInt64, isShutdown: Bool) {
        device.sleepRegisters.write(value, at: 0, width: 1)
        #expect(receiver.events.withLock { $0 } == (isShutdown ? [.shutdown] : []))
    }

    @Test func `only the reset value resets`() {
        device.sleepRegisters.write(0x41, at: 2, width: 1)
        #expect(receiver.events.withLock { $0 }.isEmpty)
        device.sleepRegisters.write(0x42, at: 2, width: 1)
        #expect(receiver.events.withLock { $0 } == [.reset])
    }

    @Test func `an unread event moves with the state`() throws {
        device.pressPowerButton()
        let saved = device.saveSection()
        let other = GenericEventDevice(line: TestLine(), receiver: receiver)
        try other.loadSection(saved.bytes, version: saved.version)
        #expect(other.read(at: 0, width: 4) == 2)
    }
}

@Suite("Bus") struct BusTests {
    private let port = SerialPort(line: TestLine(), channel: TestChannel())

    @Test func `an access reaches the device whose range holds all of it`() {
        let bus = Bus.ports([.init(address: 0x3F8, byteCount: 8, device: port)])
        #expect(bus.read(at: 0x3FD, width: 1) == 0x60)
        #expect(bus.read(at: 0x3F7, width: 1) == 0xFF)
        #expect(bus.read(at: 0x400, width: 1) == 0xFF)
        #expect(bus.read(at: 0x3FE, width: 4) == 0xFFFF_FFFF)
    }

    @Test func `memory without a device reads as zero`() {
        let bus = Bus.memory([])
        #expect(bus.read(at: 0xFEB0_0000, width: 8) == 0)
        bus.write(1, at: 0, width: 1)
    }
}
