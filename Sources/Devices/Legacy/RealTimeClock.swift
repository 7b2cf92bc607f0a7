internal import LinuxSystem
public import MigrationStream
internal import Synchronization

/// An MC146818 real-time clock with its memory: ports 0x70 (index) and 0x71 (data).
///
/// The guest's time of day is `baseTime` seconds at `lastUpdate`, and goes on with the clock that drives the device, the
/// host's time of day unless told otherwise: so a guest that moves keeps its time if both hosts have theirs. Flags of
/// register C are worked out when somebody looks; a thread is woken for them only while the guest wants interrupts.
///
///     0 seconds  2 minutes  4 hours  6 day of the week  7 day  8 month  9 year  0x32 century     1 3 5 alarm
///     A rate, dividers, update in progress   B set, interrupts, binary, 24 h   C flags   D valid
public final class RealTimeClock: RegisterDevice {
    public static let byteCount: UInt64 = 2
    public let name = "rtc"
    public var stateKind: DeviceStateKind { .section }

    private struct Live: Sendable {
        var state: RTCState
        /// The driving clock, up to which flags have been set; nanoseconds.
        var seen: Int64
        var isPaused = false
    }

    private let live: Mutex<Live>
    private let line: any InterruptLine
    /// Nanoseconds since 1970.
    private let now: @Sendable () -> Int64
    private let wake = Gate()
    private let isEnded = Atomic<Bool>(false)
    private let thread = Mutex<BlockingThread?>(nil)

    /// - Parameters:
    ///   - memory: What the machine's firmware would have left in the memory behind the registers, by index.
    ///   - now: The clock that drives the device, in nanoseconds since 1970; nil for the host's time of day.
    public init(
        line: any InterruptLine, memory: [(index: Int, value: UInt8)] = [],
        now: (@Sendable () -> Int64)? = nil
    ) {
        let now = now ?? { WallClock.now.nanoseconds }
        self.line = line
        self.now = now
        var state = RTCState()
        for (index, value) in memory { state.memory[index] = value }
        state.memory[ClockRegister.a] = 0x26  // dividers on, 1024 Hz
        state.memory[ClockRegister.b] = ClockControl.is24Hour
        state.memory[ClockRegister.d] = 0x80
        let time = now()
        state.baseTime = UInt64(max(0, time)) / 1_000_000_000
        state.lastUpdate = state.baseTime * 1_000_000_000
        state.nextPeriodicTime = 0
        live = Mutex(Live(state: state, seen: time))
    }

    /// Interrupts stop; time and alarm stay.
    public func reset() {
        live.withLock { live in
            live.state.memory[ClockRegister.b] &= ~(ClockControl.interrupts | ClockControl.squareWave)
            live.state.memory[ClockRegister.c] = 0
            live.state.selectedIndex = 0
        }
        line.setLevel(false)
    }

    public func pause() { live.withLock { $0.isPaused = true } }

    public func resume() {
        live.withLock { live in
            live.isPaused = false
            update(&live)
        }
        wake.open()
    }

    /// Ends the thread, for good.
    public func end() {
        isEnded.store(true, ordering: .releasing)
        wake.open()
        thread.withLock { $0 }?.join()
    }

    // MARK: Registers

    public func read(at offset: UInt64, width: Int) -> UInt64 {
        guard width == 1, offset == 1 else { return .max }
        return UInt64(live.withLock { live in readData(&live) })
    }

    private func readData(_ live: inout Live) -> UInt8 {
        let index = Int(live.state.selectedIndex)
        switch index {
        case ClockRegister.a:
            let isUpdating = isCounting(live.state) && live.state.nanoseconds(at: now()) % 1_000_000_000 >= updateStart
            return live.state.memory[index] & 0x7F | (isUpdating ? 0x80 : 0)
        case ClockRegister.c:
            update(&live)
            let flags = live.state.memory[index]
            live.state.memory[index] = 0
            line.setLevel(false)
            wake.open()
            return flags
        case _ where RTCState.timeRegisters.contains(index):
            if isCounting(live.state) { live.state.storeTime(at: now()) }
            return live.state.memory[index]
        default: return live.state.memory[index]
        }
    }

    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        guard width == 1 else { return }
        let byte = UInt8(truncatingIfNeeded: value)
        live.withLock { live in
            if offset == 0 {
                live.state.selectedIndex = byte & 0x7F
            } else {
                writeData(byte, &live)
            }
        }
        wake.open()
    }

    private func writeData(_ byte: UInt8, _ live: inout Live) {
        let time = now()
        let index = Int(live.state.selectedIndex)
        switch index {
        case ClockRegister.a:
            update(&live)
            let wasCounting = isCounting(live.state)
            if wasCounting { live.state.storeTime(at: time) }
            live.state.memory[index] = byte & 0x7F
            // Dividers that are held hold the time; let go, it goes on from there.
            if !wasCounting && isCounting(live.state) { live.state.loadTime(at: time) }
        case ClockRegister.b:
            update(&live)
            let old = live.state.memory[index]
            if byte & ClockControl.set != 0, old & ClockControl.set == 0 {
                // The time stands in the registers until the guest lets it go on from what it has written there.
                live.state.storeTime(at: time)
                live.state.memory[index] = byte & ~ClockControl.updateInterrupt
            } else {
                if old & ClockControl.set != 0, byte & ClockControl.set == 0 { live.state.loadTime(at: time) }
                live.state.memory[index] = byte
            }
            raise(&live)
            startThread(live.state)
        case ClockRegister.c, ClockRegister.d: break
        case _ where RTCState.timeRegisters.contains(index):
            if isCounting(live.state) { live.state.storeTime(at: time) }
            live.state.memory[index] = byte
            if isCounting(live.state) { live.state.loadTime(at: time) }
        default: live.state.memory[index] = byte
        }
    }

    private func isCounting(_ state: RTCState) -> Bool {
        // Dividers 0b010 are the ones of a 32768 Hz crystal; others hold the clock.
        state.memory[ClockRegister.b] & ClockControl.set == 0 && state.memory[ClockRegister.a] & 0x70 <= 0x20
    }

    /// The last 244 microseconds of a second: the registers are about to change.
    private var updateStart: Int64 { 1_000_000_000 - 244_141 }

    // MARK: Interrupts

    /// Sets the flags of everything that happened since the last look.
    private func update(_ live: inout Live) {
        let time = now()
        let from = live.seen
        live.seen = time
        guard !live.isPaused, time > from else { return }
        var flags: UInt8 = 0
        if let period = live.state.periodNanoseconds, time / period > from / period { flags |= ClockFlag.periodic }
        if isCounting(live.state) {
            let before = live.state.nanoseconds(at: from) / 1_000_000_000
            let second = live.state.nanoseconds(at: time) / 1_000_000_000
            if second > before {
                flags |= ClockFlag.update
                if (max(before + 1, second - 86400)...second).contains(where: live.state.alarmMatches) {
                    flags |= ClockFlag.alarm
                }
            }
        }
        live.state.memory[ClockRegister.c] |= flags
        raise(&live)
    }

    private func raise(_ live: inout Live) {
        let flags = live.state.memory[ClockRegister.c]
        guard !live.isPaused, flags & live.state.memory[ClockRegister.b] & ClockControl.interrupts != 0 else { return }
        live.state.memory[ClockRegister.c] = flags | ClockFlag.interrupt
        line.setLevel(true)
    }

    /// A guest that never wants interrupts needs no thread.
    private func startThread(_ state: RTCState) {
        guard state.memory[ClockRegister.b] & ClockControl.interrupts != 0 else { return }
        thread.withLock { thread in
            guard thread == nil, !isEnded.load(ordering: .acquiring) else { return }
            // Without a thread there are no interrupts, which a guest survives; the flags are there when it looks.
            thread = try? BlockingThread(name: "rtc") { [self] in waitForEvents() }
        }
    }

    private func waitForEvents() {
        while !isEnded.load(ordering: .acquiring) {
            wake.close()
            let delay = live.withLock { live in
                update(&live)
                return delayToNextEvent(live)
            }
            // What changed between the look and the closing has opened the gate again, or is seen in the state.
            wake.wait(for: delay.map { .nanoseconds($0) })
        }
    }

    /// How long until a flag that interrupts may be set; nil while none can be.
    private func delayToNextEvent(_ live: Live) -> Int64? {
        let enabled = live.state.memory[ClockRegister.b]
        guard !live.isPaused, live.state.memory[ClockRegister.c] & ClockFlag.interrupt == 0 else { return nil }
        var delay: Int64?
        if enabled & ClockControl.periodicInterrupt != 0, let period = live.state.periodNanoseconds {
            delay = period - live.seen % period
        }
        if enabled & (ClockControl.updateInterrupt | ClockControl.alarmInterrupt) != 0, isCounting(live.state) {
            let rest = 1_000_000_000 - live.state.nanoseconds(at: live.seen) % 1_000_000_000
            delay = min(delay ?? rest, rest)
        }
        return delay
    }
}

extension RealTimeClock: StatefulDevice {
    public func saveState() -> RTCState {
        live.withLock { live in
            update(&live)
            var state = live.state
            if isCounting(state) { state.storeTime(at: live.seen) }
            let enabled = state.memory[ClockRegister.b]
            if enabled & ClockControl.periodicInterrupt != 0, let period = state.periodNanoseconds {
                state.nextPeriodicTime = (live.seen / period + 1) * period
                state.periodicTimer = UInt64(state.nextPeriodicTime)
                state.period = UInt32(clamping: state.periodTickCount)
            } else {
                state.periodicTimer = nil
            }
            state.updateTimer = nil
            return state
        }
    }

    public func loadState(_ state: RTCState) {
        live.withLock { live in
            live.state = state
            live.state.selectedIndex &= 0x7F
            live.seen = now()
            if state.memory[ClockRegister.c] & ClockFlag.interrupt != 0 { line.setLevel(true) }
            startThread(live.state)
        }
        wake.open()
    }
}

extension WallClock {
    /// Since 1970.
    fileprivate var nanoseconds: Int64 { seconds * 1_000_000_000 + Int64(microseconds) * 1000 }
}
