public import MigrationStream
internal import Synchronization

/// A 16550A serial port with its 16-byte FIFOs.
///
/// Time plays no part: a byte that the guest writes is gone at once, and a received byte that waits below the FIFO's
/// trigger level counts as timed out at once. The registers are kept as QEMU's section has them.
///
///     0 data / divider low   1 interrupt enable / divider high   2 interrupt identification / FIFO control
///     3 line control         4 modem control   5 line status     6 modem status   7 scratch
public final class SerialPort: RegisterDevice {
    public static let byteCount: UInt64 = 8

    public let name = "serial"
    public var stateKind: DeviceStateKind { .section }
    private let port = Mutex(SerialState.Port())
    private let line: any InterruptLine
    private let channel: any ByteChannel
    private let isPaused = Atomic<Bool>(false)

    public init(line: any InterruptLine, channel: any ByteChannel) {
        self.line = line
        self.channel = channel
        channel.onInput { [weak self] in
            guard let self else { return }
            port.withLock { receive(&$0) }
        }
    }

    public func reset() {
        port.withLock { $0 = SerialState.Port() }
        line.setLevel(false)
    }

    // Bytes that come while the guest is paused stay in the channel; what is in the FIFO moves with the state.
    public func pause() { port.withLock { _ in isPaused.store(true, ordering: .relaxed) } }

    public func resume() {
        port.withLock { port in
            isPaused.store(false, ordering: .relaxed)
            updateLine(&port)
            receive(&port)
        }
    }

    // MARK: Receiving

    /// Takes as many bytes from the channel as there is room for.
    private func receive(_ port: inout SerialState.Port) {
        guard !isPaused.load(ordering: .relaxed), port.modemControl & ModemControl.loopback == 0 else { return }
        let room = port.hasFIFO ? 16 - Int(port.receiveQueue.count) : port.hasRoom ? 1 : 0
        guard room > 0 else { return }
        for byte in channel.take(room) { _ = receive(byte, &port) }
    }

    /// Puts one byte into the FIFO or the buffer; false when there is no room.
    private func receive(_ byte: UInt8, _ port: inout SerialState.Port) -> Bool {
        guard port.hasRoom else { return false }
        if port.hasFIFO {
            _ = port.receiveQueue.append(byte)
            port.receiveTimeoutPending = 1
        } else {
            port.receiveBuffer = byte
        }
        port.lineStatus |= LineStatus.dataReady
        updateLine(&port)
        return true
    }

    // MARK: Registers

    public func read(at offset: UInt64, width: Int) -> UInt64 {
        guard width == 1 else { return .max }
        return UInt64(port.withLock { read(offset, &$0) })
    }

    private func read(_ offset: UInt64, _ port: inout SerialState.Port) -> UInt8 {
        switch offset {
        case 0: return port.isDividerSelected ? UInt8(truncatingIfNeeded: port.divider) : readData(&port)
        case 1: return port.isDividerSelected ? UInt8(port.divider >> 8) : port.interruptEnable
        case 2:
            let value = port.interruptIdentification
            if value & 0x0F == Interrupt.transmitEmpty {
                port.transmitInterruptPending = 0
                updateLine(&port)
            }
            return value
        case 3: return port.lineControl
        case 4: return port.modemControl
        case 5:
            let value = port.lineStatus
            port.lineStatus &= ~LineStatus.errors
            if value & LineStatus.errors != 0 { updateLine(&port) }
            return value
        case 6:
            if port.modemControl & ModemControl.loopback != 0 { return port.loopedModemStatus }
            let value = port.modemStatus
            port.modemStatus &= 0xF0
            if value & 0x0F != 0 { updateLine(&port) }
            return value
        default: return port.scratch
        }
    }

    private func readData(_ port: inout SerialState.Port) -> UInt8 {
        var value = port.receiveBuffer
        if port.hasFIFO { value = port.receiveQueue.removeFirst() ?? 0 }
        if !port.hasFIFO || port.receiveQueue.count == 0 {
            port.receiveTimeoutPending = 0
            port.lineStatus &= ~(LineStatus.dataReady | LineStatus.breakSeen)
        }
        updateLine(&port)
        receive(&port)
        return value
    }

    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        guard width == 1 else { return }
        let byte = UInt8(truncatingIfNeeded: value)
        port.withLock { write(byte, offset, &$0) }
    }

    private func write(_ byte: UInt8, _ offset: UInt64, _ port: inout SerialState.Port) {
        switch offset {
        case 0 where port.isDividerSelected: port.divider = port.divider & 0xFF00 | UInt16(byte)
        case 0: transmit(byte, &port)
        case 1 where port.isDividerSelected: port.divider = port.divider & 0x00FF | UInt16(byte) << 8
        case 1:
            let wasEnabled = port.interruptEnable & InterruptEnable.transmitEmpty != 0
            port.interruptEnable = byte & 0x0F
            let isEnabled = port.interruptEnable & InterruptEnable.transmitEmpty != 0
            if isEnabled != wasEnabled {
                let isEmpty = port.lineStatus & LineStatus.transmitHoldingEmpty != 0
                port.transmitInterruptPending = isEnabled && isEmpty ? 1 : 0
            }
            updateLine(&port)
        case 2: writeFIFOControl(byte, &port)
        case 3: port.lineControl = byte
        case 4:
            port.modemControl = byte & 0x1F
            receive(&port)
        case 7: port.scratch = byte
        default: break  // The status registers cannot be written.
        }
    }

    /// The byte leaves at once, so both transmit registers are empty again.
    private func transmit(_ byte: UInt8, _ port: inout SerialState.Port) {
        port.transmitHolding = byte
        port.lineStatus |= LineStatus.transmitHoldingEmpty | LineStatus.transmitterEmpty
        port.transmitInterruptPending = 1
        if port.modemControl & ModemControl.loopback != 0 {
            if !receive(byte, &port) { port.lineStatus |= LineStatus.overrun }
        } else {
            channel.send([byte])
        }
        updateLine(&port)
    }

    private func writeFIFOControl(_ byte: UInt8, _ port: inout SerialState.Port) {
        let changesMode = (byte ^ port.fifoControl) & FIFOControl.enable != 0
        if changesMode || byte & FIFOControl.clearReceive != 0 {
            port.receiveQueue = SerialState.ByteQueue()
            port.receiveTimeoutPending = 0
            port.lineStatus &= ~(LineStatus.dataReady | LineStatus.breakSeen)
        }
        if changesMode || byte & FIFOControl.clearTransmit != 0 { port.transmitQueue = SerialState.ByteQueue() }
        port.fifoControl = byte & 0xC9
        let fifoBits: UInt8 = port.hasFIFO ? 0xC0 : 0
        port.interruptIdentification = port.interruptIdentification & 0x0F | fifoBits
        updateLine(&port)
        receive(&port)
    }

    /// Works out which interrupt is the most urgent, and sets the line.
    private func updateLine(_ port: inout SerialState.Port) {
        let enabled = port.interruptEnable
        var identification = Interrupt.none
        if enabled & InterruptEnable.lineStatus != 0, port.lineStatus & LineStatus.errors != 0 {
            identification = Interrupt.lineStatus
        } else if enabled & InterruptEnable.received != 0, port.isTriggerReached {
            identification = Interrupt.received
        } else if enabled & InterruptEnable.received != 0, port.receiveTimeoutPending != 0 {
            identification = Interrupt.receiveTimeout
        } else if enabled & InterruptEnable.transmitEmpty != 0, port.transmitInterruptPending != 0 {
            identification = Interrupt.transmitEmpty
        } else if enabled & InterruptEnable.modemStatus != 0, port.modemStatus & 0x0F != 0 {
            identification = Interrupt.modemStatus
        }
        port.interruptIdentification = port.interruptIdentification & 0xF0 | identification
        line.setLevel(identification != Interrupt.none)
    }
}

extension SerialPort: StatefulDevice {
    public func saveState() -> SerialState {
        var state = SerialState()
        state.port = port.withLock { $0 }
        return state
    }

    public func loadState(_ state: SerialState) {
        // A byte in QEMU's transmit queue is on its way to the outside; here it arrives now.
        var loaded = state.port
        var unsent: [UInt8] = loaded.transmitRetryCount > 0 ? [loaded.transmitShift] : []
        while let byte = loaded.transmitQueue.removeFirst() { unsent.append(byte) }
        if !unsent.isEmpty {
            channel.send(unsent)
            loaded.transmitRetryCount = 0
            loaded.transmitQueue = SerialState.ByteQueue()
            loaded.lineStatus |= LineStatus.transmitHoldingEmpty | LineStatus.transmitterEmpty
            loaded.transmitInterruptPending = 1
        }
        loaded.receiveTimeoutTimer = nil
        if loaded.receiveQueue.count > 0 { loaded.receiveTimeoutPending = 1 }
        port.withLock { port in
            port = loaded
            updateLine(&port)
        }
    }
}
