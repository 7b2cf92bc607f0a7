internal import GuestMemory
public import MigrationStream
internal import Synchronization

/// A console: virtio-serial with one port, number 0, that is a console for the guest.
///
/// With room for one port only the two data queues matter, as `max_ports=1` makes QEMU's. With room for more the device
/// offers MULTIPORT, and driver and device tell each other about port 0 over the control queues, as QEMU's default of 31
/// does:
///
///     driver: DEVICE_READY -> device: PORT_ADD 0
///     driver: PORT_READY 0 -> device: CONSOLE_PORT 0, PORT_OPEN 0
///     driver: PORT_OPEN 0 1 -> bytes flow
public final class ConsoleDevice: VirtioDevice {
    public let name = "virtio-console"
    public let deviceID: UInt32 = 3
    public let queueSizes: [UInt16]
    public let features: UInt64
    public let link = VirtioLink()
    public let hostDescriptor: Int32? = nil
    /// The ports there is room for, 1 to 31.
    public let maximumPortCount: Int
    private let channel: any ByteChannel
    private let live = Mutex(Live())
    /// A buffer that QEMU had begun to send when the guest left it.
    private let unsent = Mutex<VirtioConsoleState.PendingBuffer?>(nil)

    private struct Live: Sendable {
        var acceptedFeatures: UInt64 = 0
        var isGuestConnected = false
        /// Control messages that wait for a buffer of the driver.
        var messages: [[UInt8]] = []

        /// Adds a message about port 0.
        mutating func queue(_ event: UInt16, _ value: UInt16) {
            guard messages.count < messageLimit else { return }
            var message = [UInt8](repeating: 0, count: 8)
            message.store(event, at: 4)
            message.store(value, at: 6)
            messages.append(message)
        }
    }

    private enum Feature {
        static let multiport: UInt64 = 1 << 1
        static let emergencyWrite: UInt64 = 1 << 2
    }

    private enum Event {
        static let deviceReady: UInt16 = 0
        static let portAdd: UInt16 = 1
        static let portReady: UInt16 = 3
        static let consolePort: UInt16 = 4
        static let portOpen: UInt16 = 6
    }

    private enum Queue {
        static let receive = 0
        static let transmit = 1
        static let controlReceive = 2
        static let controlTransmit = 3
    }

    /// A guest that makes more messages than it takes loses the newest.
    private static let messageLimit = 64

    /// - Precondition: `maximumPortCount` is 1 to 31.
    public init(channel: any ByteChannel, maximumPortCount: Int = 1) {
        precondition((1...31).contains(maximumPortCount), "\(maximumPortCount) ports")
        self.channel = channel
        self.maximumPortCount = maximumPortCount
        // Port 0, the control queues, then the other ports.
        queueSizes = [128, 128, 32, 32] + [UInt16](repeating: 128, count: 2 * (maximumPortCount - 1))
        features = Feature.emergencyWrite | (maximumPortCount > 1 ? Feature.multiport : 0)
        channel.onInput { [link] in link.requestService() }
    }

    // MARK: Requests

    public func serve(_ event: VirtioEvent, _ queues: inout VirtioQueues) throws(VirtioError) {
        switch event {
        case .host, .queue(Queue.receive): try receive(&queues)
        case .queue(Queue.transmit): try transmit(&queues)
        case .queue(Queue.controlReceive): try sendMessages(&queues)
        case .queue(Queue.controlTransmit):
            try takeMessages(&queues)
            try sendMessages(&queues)
            try receive(&queues)
        case .queue: break
        }
    }

    private func transmit(_ queues: inout VirtioQueues) throws(VirtioError) {
        try sendUnsent(&queues)
        while let chain = try queues.take(from: Queue.transmit) {
            channel.send(chain.read(count: Self.largestTransfer))
            try queues.give(chain, byteCount: 0)
        }
        try queues.interruptDriver(for: Queue.transmit)
    }

    /// More than any console writes at once; the rest of a larger buffer is not sent.
    private static let largestTransfer = 1 << 20

    private func receive(_ queues: inout VirtioQueues) throws(VirtioError) {
        let isOpen = live.withLock { $0.isGuestConnected || $0.acceptedFeatures & Feature.multiport == 0 }
        guard isOpen else { return }
        while let chain = try queues.take(from: Queue.receive) {
            let bytes = channel.take(min(chain.writableByteCount, 4096))
            guard !bytes.isEmpty else {
                queues.untake(from: Queue.receive)
                break
            }
            chain.write(bytes)
            try queues.give(chain, byteCount: bytes.count)
        }
        try queues.interruptDriver(for: Queue.receive)
    }

    // MARK: Control messages

    /// A message: port u32, event u16, value u16.
    private func takeMessages(_ queues: inout VirtioQueues) throws(VirtioError) {
        while let chain = try queues.take(from: Queue.controlTransmit) {
            let bytes = chain.read(count: 8)
            if bytes.count == 8 {
                answer(
                    port: UInt32(littleEndian: bytes, at: 0), event: UInt16(littleEndian: bytes, at: 4),
                    value: UInt16(littleEndian: bytes, at: 6))
            }
            try queues.give(chain, byteCount: 0)
        }
        try queues.interruptDriver(for: Queue.controlTransmit)
    }

    private func answer(port: UInt32, event: UInt16, value: UInt16) {
        live.withLock { live in
            switch event {
            case Event.deviceReady where value == 1: live.queue(Event.portAdd, 1)
            case Event.portReady where port == 0 && value == 1:
                live.queue(Event.consolePort, 1)
                live.queue(Event.portOpen, 1)
            case Event.portOpen where port == 0: live.isGuestConnected = value == 1
            default: break
            }
        }
    }

    private func sendMessages(_ queues: inout VirtioQueues) throws(VirtioError) {
        while let message = live.withLock({ $0.messages.first }),
            let chain = try queues.take(from: Queue.controlReceive)
        {
            let count = chain.write(message)
            try queues.give(chain, byteCount: count)
            live.withLock { _ = $0.messages.removeFirst() }
        }
        try queues.interruptDriver(for: Queue.controlReceive)
    }

    // MARK: Set-up

    /// offset  size  field
    ///      0     4  columns, rows: unknown, 0
    ///      4     4  most ports
    ///      8     4  emergency write: a byte written here is sent at once
    public var configuration: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 12)
        bytes.store(UInt32(maximumPortCount), at: 4)
        return bytes
    }

    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) {
        if offset == 8, let byte = bytes.first { channel.send([byte]) }
    }

    public func driverIsReady(features: UInt64) { live.withLock { $0.acceptedFeatures = features } }

    public func resetDevice() {
        live.withLock { $0 = Live() }
        unsent.withLock { $0 = nil }
    }

    public func save(into state: inout VirtioConsoleState) {
        let live = live.withLock { $0 }
        state.maximumPortCount = UInt32(maximumPortCount)
        state.portMap = [1]
        var port = VirtioConsoleState.Port()
        port.isGuestConnected = live.isGuestConnected ? 1 : 0
        port.isHostConnected = 1
        port.pending = unsent.withLock { $0 }
        state.ports = [port]
    }

    public func load(_ state: VirtioConsoleState) throws {
        guard state.maximumPortCount == UInt32(maximumPortCount) else {
            throw DeviceError.mismatch(
                device: name, property: "the number of ports", here: "\(maximumPortCount)",
                there: "\(state.maximumPortCount)")
        }
        guard state.portMap == [1], state.ports.map(\.id) == [0] else {
            throw DeviceError.mismatch(
                device: name, property: "the map of ports", here: "[1]", there: "\(state.portMap)")
        }
        live.withLock { live in
            live.acceptedFeatures = state.virtio.guestFeatures
            live.isGuestConnected = state.ports[0].isGuestConnected != 0
        }
        unsent.withLock { $0 = state.ports[0].pending }
    }

    /// Sends what QEMU's host side had not taken yet of a buffer that is off the queue already.
    private func sendUnsent(_ queues: inout VirtioQueues) throws(VirtioError) {
        guard let pending = unsent.withLock({ $0 }) else { return }
        let chain = try queues.unfinished(pending.request.index, of: Queue.transmit)
        let before = chain.readable.prefix(Int(pending.segment)).reduce(0) { $0 + $1.byteCount }
        let offset = before + Int(clamping: min(pending.offset, UInt64(Self.largestTransfer)))
        channel.send(chain.read(from: offset, count: Self.largestTransfer))
        try queues.give(chain, byteCount: 0)
        unsent.withLock { $0 = nil }
    }
}
