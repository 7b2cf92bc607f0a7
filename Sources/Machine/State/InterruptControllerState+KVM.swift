internal import CLinux
internal import KVM
internal import MigrationStream

/// What the LAPIC's timer counts with: KVM's bus runs at 1 GHz, divided by 2 to the power of this.
private func timerShift(_ divideConfiguration: UInt32) -> Int32 {
    let code = divideConfiguration & 3 | (divideConfiguration >> 1) & 4
    return Int32((code + 1) & 7)
}

extension MigrationStream::LocalAPICState {
    /// - Parameters:
    ///   - base: the APIC base register.
    ///   - multiprocessorState: KVM's; 1 and 2 wait to be started.
    ///   - virtualClock: nanoseconds of the guest's clock now. The timer's start is told in it, so that a destination
    ///     that computes with it goes on counting where this one stopped.
    init(_ kernel: KVM::LocalAPICState, base: UInt64, multiprocessorState: UInt32, virtualClock: Int64) {
        self.init()
        self.base = UInt32(truncatingIfNeeded: base)
        // In both modes: the kernel's own x2APIC format is an option that this machine does not take.
        id = UInt8(truncatingIfNeeded: kernel[0x20] >> 24)
        arbitrationID = UInt8(truncatingIfNeeded: kernel[0x90])
        taskPriority = UInt8(truncatingIfNeeded: kernel[0x80])
        logicalDestination = UInt8(truncatingIfNeeded: kernel[0xD0] >> 24)
        destinationMode = UInt8(truncatingIfNeeded: kernel[0xE0] >> 28)
        spuriousVector = kernel[0xF0]
        for index in 0..<8 {
            inService[index] = kernel[0x100 + 16 * index]
            triggerMode[index] = kernel[0x180 + 16 * index]
            interruptRequest[index] = kernel[0x200 + 16 * index]
        }
        errorStatus = kernel[0x280]
        interruptCommand = [kernel[0x300], kernel[0x310]]
        for (index, offset) in Self.vectorOffsets.enumerated() { localVectors[index] = kernel[offset] }
        divideConfiguration = kernel[0x3E0]
        countShift = timerShift(divideConfiguration)
        initialCount = kernel[0x380]
        let counted = Int64(initialCount) - Int64(min(kernel[0x390], initialCount))
        initialCountLoadTime = virtualClock - counted << Int64(countShift)
        let isArmed = initialCount != 0 && kernel[0x390] != 0
        nextTime = isArmed ? virtualClock + Int64(kernel[0x390]) << Int64(countShift) : 0
        timerExpiry = isArmed && localVectors[0] & 0x10000 == 0 ? nextTime : -1
        waitsForStartup = multiprocessorState == 1 || multiprocessorState == 2 ? 1 : 0
    }

    /// Timer, thermal, performance, LINT0, LINT1, error.
    private static let vectorOffsets = [0x320, 0x330, 0x340, 0x350, 0x360, 0x370]

    /// The kernel's registers; the timer has counted since `initialCountLoadTime`.
    func kernelState(virtualClock: Int64) -> KVM::LocalAPICState {
        var kernel = KVM::LocalAPICState()
        kernel[0x20] = UInt32(id) << 24
        kernel[0x30] = 0x50014
        kernel[0x80] = UInt32(taskPriority)
        kernel[0x90] = UInt32(arbitrationID)
        kernel[0xD0] = UInt32(logicalDestination) << 24
        kernel[0xE0] = UInt32(destinationMode) << 28 | 0x0FFF_FFFF
        kernel[0xF0] = spuriousVector
        for index in 0..<8 {
            kernel[0x100 + 16 * index] = inService[index]
            kernel[0x180 + 16 * index] = triggerMode[index]
            kernel[0x200 + 16 * index] = interruptRequest[index]
        }
        kernel[0x280] = errorStatus
        kernel[0x300] = interruptCommand[0]
        kernel[0x310] = interruptCommand[1]
        for (index, offset) in Self.vectorOffsets.enumerated() { kernel[offset] = localVectors[index] }
        kernel[0x380] = initialCount
        kernel[0x390] = currentCount(virtualClock: virtualClock)
        kernel[0x3E0] = divideConfiguration
        return kernel
    }

    /// What the timer has still to count: of a periodic one the rest of its period, of a one-shot 0 when it is over.
    private func currentCount(virtualClock: Int64) -> UInt32 {
        guard initialCount != 0 else { return 0 }
        let elapsed = max(0, virtualClock &- initialCountLoadTime) >> Int64(timerShift(divideConfiguration))
        let isPeriodic = localVectors[0] >> 17 & 3 == 1
        if isPeriodic { return initialCount - UInt32(elapsed % Int64(initialCount)) }
        return elapsed >= Int64(initialCount) ? 0 : initialCount - UInt32(elapsed)
    }
}

extension MigrationStream::IOAPICState {
    init(_ kernel: KVM::IOAPICState) {
        self.init()
        id = UInt8(truncatingIfNeeded: kernel.id)
        selectedRegister = UInt8(truncatingIfNeeded: kernel.selectedRegister)
        interruptRequest = kernel.interruptRequests
        redirectionTable = kernel.redirections
    }

    func kernelState(address: UInt64) -> KVM::IOAPICState {
        KVM::IOAPICState(
            address: address, id: UInt32(id), selectedRegister: UInt32(selectedRegister),
            interruptRequests: interruptRequest, redirections: redirectionTable)
    }
}

extension PICState {
    init(_ kernel: kvm_pic_state) {
        self.init()
        lastInterruptRequest = kernel.last_irr
        interruptRequest = kernel.irr
        interruptMask = kernel.imr
        inService = kernel.isr
        priorityAdd = kernel.priority_add
        vectorBase = kernel.irq_base
        readRegisterSelect = kernel.read_reg_select
        poll = kernel.poll
        specialMask = kernel.special_mask
        initializationState = kernel.init_state
        automaticEOI = kernel.auto_eoi
        rotateOnAutomaticEOI = kernel.rotate_on_auto_eoi
        specialFullyNestedMode = kernel.special_fully_nested_mode
        expectsFourthWord = kernel.init4
        levelTriggered = kernel.elcr
    }

    /// - Parameter levelMask: which lines may be level-triggered: 0xF8 of the master, 0xDE of the slave.
    func kernelState(levelMask: UInt8) -> kvm_pic_state {
        var kernel = kvm_pic_state()
        kernel.last_irr = lastInterruptRequest
        kernel.irr = interruptRequest
        kernel.imr = interruptMask
        kernel.isr = inService
        kernel.priority_add = priorityAdd
        kernel.irq_base = vectorBase
        kernel.read_reg_select = readRegisterSelect
        kernel.poll = poll
        kernel.special_mask = specialMask
        kernel.init_state = initializationState
        kernel.auto_eoi = automaticEOI
        kernel.rotate_on_auto_eoi = rotateOnAutomaticEOI
        kernel.special_fully_nested_mode = specialFullyNestedMode
        kernel.init4 = expectsFourthWord
        kernel.elcr = levelTriggered
        kernel.elcr_mask = levelMask
        return kernel
    }
}

extension PITState {
    /// - Parameters:
    ///   - clockOffset: the virtual clock minus the kernel's monotonic one, in nanoseconds; the kernel tells the
    ///     channels' times in the latter.
    ///   - virtualClock: nanoseconds of the guest's clock now.
    init(_ kernel: kvm_pit_state2, clockOffset: Int64, virtualClock: Int64) {
        self.init()
        interruptDisabled = kernel.flags & UInt32(KVM_PIT_FLAGS_HPET_LEGACY) != 0 ? 1 : 0
        let all = [kernel.channels.0, kernel.channels.1, kernel.channels.2]
        for (index, channel) in all.enumerated() {
            channels[index].count = channel.count == 0 ? 0x10000 : Int32(truncatingIfNeeded: channel.count)
            channels[index].latchedCount = channel.latched_count
            channels[index].countLatched = channel.count_latched
            channels[index].statusLatched = channel.status_latched
            channels[index].status = channel.status
            channels[index].readState = channel.read_state
            channels[index].writeState = channel.write_state
            channels[index].writeLatch = channel.write_latch
            channels[index].accessMode = channel.rw_mode
            channels[index].mode = channel.mode
            channels[index].isBCD = channel.bcd
            channels[index].gate = channel.gate
            channels[index].countLoadTime = channel.count_load_time &+ clockOffset
        }
        // The kernel does not tell; a destination that keeps the timer itself has nothing else to start it by.
        nextTransitionTime = channels[0].transition(after: virtualClock) ?? -1
        channels[0].nextTransitionTime = max(0, nextTransitionTime)
    }

    func kernelState(clockOffset: Int64) -> kvm_pit_state2 {
        func kernelChannel(_ channel: Channel) -> kvm_pit_channel_state {
            var state = kvm_pit_channel_state()
            state.count = UInt32(bitPattern: channel.count)
            state.latched_count = channel.latchedCount
            state.count_latched = channel.countLatched
            state.status_latched = channel.statusLatched
            state.status = channel.status
            state.read_state = channel.readState
            state.write_state = channel.writeState
            state.write_latch = channel.writeLatch
            state.rw_mode = channel.accessMode
            state.mode = channel.mode
            state.bcd = channel.isBCD
            state.gate = channel.gate
            state.count_load_time = channel.countLoadTime &- clockOffset
            return state
        }
        var kernel = kvm_pit_state2()
        kernel.flags = interruptDisabled != 0 ? UInt32(KVM_PIT_FLAGS_HPET_LEGACY) : 0
        kernel.channels = (kernelChannel(channels[0]), kernelChannel(channels[1]), kernelChannel(channels[2]))
        return kernel
    }
}

extension PITState.Channel {
    /// Ticks a second of the counters.
    private static let frequency: Int64 = 1_193_182

    /// When the output changes next after `time`, nil if it does not; nanoseconds of the virtual clock.
    ///
    /// Modes 2 and 3 are periodic: an output that is low for a tick, and a square wave. The others count once.
    func transition(after time: Int64) -> Int64? {
        let count = Int64(count)
        guard count > 0 else { return nil }
        let elapsed = Self.ticks(in: max(0, time - countLoadTime))
        let period = elapsed / count * count
        let next: Int64
        switch mode {
        case 2: next = elapsed == period && elapsed != 0 ? period + count : period + count + 1
        case 3:
            let half = (count + 1) / 2
            next = elapsed - period < half ? period + half : period + count
        case 4, 5:
            guard elapsed <= count else { return nil }
            next = elapsed < count ? count : count + 1
        default:
            guard elapsed < count else { return nil }
            next = count
        }
        return max(time + 1, countLoadTime + Self.nanoseconds(of: next))
    }

    private static func ticks(in nanoseconds: Int64) -> Int64 {
        let (seconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        return seconds * frequency + rest * frequency / 1_000_000_000
    }

    private static func nanoseconds(of ticks: Int64) -> Int64 {
        let (seconds, rest) = ticks.quotientAndRemainder(dividingBy: frequency)
        return seconds * 1_000_000_000 + rest * 1_000_000_000 / frequency
    }
}
