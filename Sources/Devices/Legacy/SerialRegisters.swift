internal import MigrationStream

enum InterruptEnable {
    static let received: UInt8 = 1
    static let transmitEmpty: UInt8 = 2
    static let lineStatus: UInt8 = 4
    static let modemStatus: UInt8 = 8
}

/// The low bits of the interrupt identification register.
enum Interrupt {
    static let modemStatus: UInt8 = 0
    static let none: UInt8 = 1
    static let transmitEmpty: UInt8 = 2
    static let received: UInt8 = 4
    static let lineStatus: UInt8 = 6
    static let receiveTimeout: UInt8 = 12
}

enum FIFOControl {
    static let enable: UInt8 = 1
    static let clearReceive: UInt8 = 2
    static let clearTransmit: UInt8 = 4
}

enum LineStatus {
    static let dataReady: UInt8 = 0x01
    static let overrun: UInt8 = 0x02
    static let breakSeen: UInt8 = 0x10
    /// Overrun, parity, framing, break.
    static let errors: UInt8 = 0x1E
    static let transmitHoldingEmpty: UInt8 = 0x20
    static let transmitterEmpty: UInt8 = 0x40
}

enum ModemControl {
    static let loopback: UInt8 = 0x10
}

extension SerialState.Port {
    var isDividerSelected: Bool { lineControl & 0x80 != 0 }
    var hasFIFO: Bool { fifoControl & FIFOControl.enable != 0 }
    var hasRoom: Bool { hasFIFO ? receiveQueue.count < 16 : lineStatus & LineStatus.dataReady == 0 }

    /// Whether as much has been received as the driver waits for.
    var isTriggerReached: Bool {
        guard hasFIFO else { return lineStatus & LineStatus.dataReady != 0 }
        let triggers: [UInt32] = [1, 4, 8, 14]
        return receiveQueue.count >= triggers[Int(fifoControl >> 6)]
    }

    /// The modem's inputs when its outputs are wired to them: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD.
    var loopedModemStatus: UInt8 {
        (modemControl & 0x0C) << 4 | (modemControl & 0x02) << 3 | (modemControl & 0x01) << 5
    }
}

extension SerialState.ByteQueue {
    /// Adds a byte at the end; false when there is no room.
    mutating func append(_ byte: UInt8) -> Bool {
        guard count < 16 else { return false }
        ring[Int(head + count) & 15] = byte
        count += 1
        return true
    }

    mutating func removeFirst() -> UInt8? {
        guard count > 0 else { return nil }
        let byte = ring[Int(head & 15)]
        head = (head + 1) & 15
        count -= 1
        return byte
    }
}
