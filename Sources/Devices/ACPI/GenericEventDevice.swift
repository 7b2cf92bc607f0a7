public import MigrationStream
internal import Synchronization

/// The generic event device of hardware-reduced ACPI: how the host presses the power button, and how the guest turns
/// the machine off or resets it.
///
///     0xFEA00000  4 bytes  events that have happened; reading clears them
///     0xFEA00200  3 bytes  sleep control, sleep status, reset (`sleepRegisters`)
public final class GenericEventDevice: RegisterDevice {
    public static let eventAddress: UInt64 = 0xFEA0_0000
    public static let eventByteCount: UInt64 = 4
    public static let sleepAddress: UInt64 = 0xFEA0_0200
    public static let sleepByteCount: UInt64 = 3
    /// The bit of the event for which the guest's ACPI tables notify the power button.
    public static let powerButtonEvent: UInt32 = 2
    /// What the guest writes to the reset register.
    public static let resetValue: UInt8 = 0x42
    /// The sleep type the tables give for S5, soft off.
    public static let softOffType: UInt8 = 5

    public let name = "acpi-ged"
    public var stateKind: DeviceStateKind { .section }
    /// The range at `sleepAddress`.
    public let sleepRegisters: SleepRegisters
    private let events = Mutex<UInt32>(0)
    private let line: any InterruptLine

    /// - Parameter line: GSI 9, which the guest programs as edge-triggered.
    public init(line: any InterruptLine, receiver: any SystemEventReceiver) {
        self.line = line
        sleepRegisters = SleepRegisters(receiver: receiver)
    }

    /// Presses the power button. Any thread; does nothing to a guest that does not listen.
    public func pressPowerButton() {
        events.withLock { $0 |= Self.powerButtonEvent }
        line.pulse()
    }

    public func reset() { events.withLock { $0 = 0 } }
    public func pause() {}
    public func resume() {}

    public func read(at offset: UInt64, width: Int) -> UInt64 {
        guard offset == 0, width == 4 else { return 0 }
        return events.withLock { events in
            let value = events
            events = 0
            return UInt64(value)
        }
    }

    public func write(_ value: UInt64, at offset: UInt64, width: Int) {}
}

extension GenericEventDevice: StatefulDevice {
    public func saveState() -> ACPIGEDState {
        var state = ACPIGEDState()
        state.events.selector = events.withLock { $0 }
        return state
    }

    public func loadState(_ state: ACPIGEDState) { events.withLock { $0 = state.events.selector } }
}

/// Sleep control, sleep status and reset.
public final class SleepRegisters: RegisterDevice {
    public let name = "acpi-ged-regs"
    public var stateKind: DeviceStateKind { .none(because: "a write acts at once and nothing is kept") }
    private let receiver: any SystemEventReceiver

    init(receiver: any SystemEventReceiver) { self.receiver = receiver }

    public func reset() {}
    public func pause() {}
    public func resume() {}

    public func read(at offset: UInt64, width: Int) -> UInt64 { 0 }

    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        guard width == 1 else { return }
        let byte = UInt8(truncatingIfNeeded: value)
        switch offset {
        case 0:
            // Sleep enable, with the type in bits 2 to 4.
            if byte & 0x20 != 0, byte >> 2 & 7 == GenericEventDevice.softOffType { receiver.receive(.shutdown) }
        case 2:
            if byte == GenericEventDevice.resetValue { receiver.receive(.reset) }
        default: break
        }
    }
}
