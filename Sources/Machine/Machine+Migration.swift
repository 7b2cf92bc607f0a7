internal import Devices
internal import GuestMemory
internal import KVM
internal import LinuxSystem
public import Migration
public import MigrationStream
internal import Synchronization

/// The machine as the migration engine sees it.
extension Machine: MigratableMachine {
    public var machineName: String { MachineConfiguration.machineName }

    public var uuid: MachineUUID { configuration.uuid }

    public var regions: [MemoryRegion] {
        let memory = [
            MemoryRegion(
                block: ram, beginsAsZero: configuration.boot == nil || configuration.awaitsGuest,
                unitPageCount: ram.hostPageByteCount / pageSize)
        ]
        if arrival.withLock({ $0.isAwaited }) {
            return memory
                + ([firmware] + firmwareFiles).map { MemoryRegion(block: $0, beginsAsZero: true, isOptional: true) }
        }
        // Firmware there is none here; that of a QEMU is sent back as it came, and zeros must not replace it.
        return memory
            + (hasArrivedFirmware ? [MemoryRegion(block: firmware, beginsAsZero: true, isOptional: true)] : [])
    }

    private var hasArrivedFirmware: Bool {
        if let known = arrival.withLock({ $0.hasFirmware }) { return known }
        let hasFirmware = firmware.hasResetVector
        arrival.withLock { $0.hasFirmware = hasFirmware }
        return hasFirmware
    }

    /// Disks that the guest may write to: read-only ones are anybody's at any time, and their locks say nothing of who
    /// owns the guest.
    public var disks: [any MigratableDisk] {
        let disks: [any MigratableDisk] = configuration.devices.compactMap { device in
            guard let backend = (device as? BlockDevice)?.backend, !backend.isReadOnly else { return nil }
            return backend as? any MigratableDisk
        }
        guard let lock = ram.lock else { return disks }
        return disks + [lock]
    }

    // MARK: Dirty pages

    public func startDirtyTracking() throws -> Bool {
        try dirtyRings?.clear()
        dirtyRates.withLock { $0 = DirtyRateMeter() }
        for slot in slots { try kvm.set(slot, logsDirtyPages: true) }
        // A ring begins empty and with every page protected.
        if dirtyRings != nil { return false }
        return kvm.system.value(of: .manualDirtyLogProtection) & 2 != 0
    }

    public func stopDirtyTracking() {
        // Each slot by itself: one that KVM refuses must not keep the others slow.
        for slot in slots { try? kvm.set(slot) }
    }

    public func readDirtyLog(of index: Int, into words: inout [UInt64]) throws {
        if let dirtyRings { return try dirtyRings.read(regions[index].block, into: &words) }
        for slot in slots(of: index) {
            let firstWord = slot.region.blockOffset / pageSize / 64
            let wordCount = (slot.region.byteCount / pageSize + 63) / 64
            var part = [UInt64](repeating: 0, count: wordCount)
            var span = part.mutableSpan
            try kvm.getDirtyLog(slot: slot.number, into: &span)
            words.replaceSubrange(firstWord..<firstWord + wordCount, with: part)
        }
    }

    public func clearDirtyLog(of index: Int, firstWord: Int, words: [UInt64]) throws {
        if let dirtyRings { return dirtyRings.clear(regions[index].block, firstWord: firstWord, words: words) }
        for slot in slots(of: index) {
            let slotStart = slot.region.blockOffset / pageSize / 64
            let pageCount = slot.region.byteCount / pageSize
            let start = max(firstWord, slotStart)
            let end = min(firstWord + words.count, slotStart + (pageCount + 63) / 64)
            guard start < end else { continue }
            let first = (start - slotStart) * 64
            try kvm.clearDirtyLog(
                slot: slot.number, firstPage: first, pageCount: min((end - start) * 64, pageCount - first),
                bitmap: words.span.extracting(start - firstWord..<end - firstWord))
        }
    }

    /// The slots of a region's block; RAM above 4 GiB has one of its own.
    private func slots(of index: Int) -> [MemorySlot] {
        let block = regions[index].block
        return slots.filter { $0.region.block === block }
    }

    /// The kernel's log does not say who wrote; rings do.
    public func dirtiedPageCounts() -> [Int] {
        guard let counts = try? dirtyRings?.counts().pages else { return [] }
        dirtyRates.withLock { $0.look(at: counts, time: .nanoseconds(monotonicNanoseconds)) }
        return counts
    }

    /// How fast each virtual CPU dirties memory, as seen by the last two calls of `dirtiedPageCounts` or this that lay
    /// apart; empty without dirty rings, and while nothing is tracked.
    public func virtualCPUDirtyRates() -> [VirtualCPUDirtyRate] {
        _ = dirtiedPageCounts()
        return dirtyRates.withLock { $0.rates }.enumerated().map {
            VirtualCPUDirtyRate(index: $0, rate: $1, limit: nil)
        }
    }

    public func heldTimes() -> [Duration] { dirtyGovernor.heldTimes }

    public var dirtyRingPageCount: Int? { configuration.dirtyRingCapacity }

    public func setThrottle(_ throttle: GuestThrottle) {
        var percentage = 0
        var allowance: DirtyAllowance?
        switch throttle {
        case .none: break
        case .percentage(let share): percentage = share
        case .stun(let writeFaultLimit, let period):
            let pages = [Double?](repeating: Double(writeFaultLimit), count: configuration.cpuCount)
            allowance = DirtyAllowance(pagesPerPeriod: pages, period: period)
        case .dirtyLimit(let limits):
            let pages = limits.map { $0.map { Double($0) / Double(pageSize) * (Self.dirtyLimitPeriod / .seconds(1)) } }
            allowance = DirtyAllowance(pagesPerPeriod: pages, period: Self.dirtyLimitPeriod)
        }
        threads.setThrottle(percentage: percentage)
        dirtyGovernor.set(allowance)
    }

    /// How often a dirty limit is enforced: often enough that the guest is seen to be slow rather than to stand still.
    private static let dirtyLimitPeriod: Duration = .milliseconds(20)

    // MARK: Run right and state

    public func pause(_ guest: consuming RunningGuest) -> GuestTransition {
        do {
            try pause()
            return GuestTransition(.paused(PausedGuest()))
        } catch { return GuestTransition(.running(guest), error: error) }
    }

    public func resume(_ guest: consuming PausedGuest) -> GuestTransition {
        do {
            try resume()
            return GuestTransition(.running(RunningGuest()))
        } catch { return GuestTransition(.paused(guest), error: error) }
    }

    public func saveDeviceState(
        _ part: DevicePart, wasRunning: Bool, _ receive: (DeviceSection) throws -> Void
    ) throws {
        try saveSections(part, runState: wasRunning ? "running" : "paused") { section in
            try failures.check(.save, of: section.name)
            try receive(DeviceSection(section))
        }
    }

    public func checkSection(_ header: SectionHeader) throws {
        try checkSection(name: header.name, instance: Int(header.instance), version: Int(header.version))
    }

    public func loadDeviceState(_ section: DeviceSection) throws {
        try failures.check(.load, of: section.name)
        try loadSection(name: section.name, instance: Int(section.instance), section.received)
    }

    public func finishLoading() throws -> Bool {
        let runState = try finishLoadingSections()
        return runState == "running"
    }

    /// One virtual CPU and all devices, also while the guest runs: the CPU is as it was made, as one that runs cannot be
    /// asked.
    public func rehearseSaving() throws -> [DeviceSection]? {
        var sections: [DeviceSection] = []
        let now = clock.now
        let cpu = VirtualCPUState(firstKernelCPU, layout: xsaveLayout, virtualClock: now)
        try save(cpu, index: 0, now: now) { sections.append(DeviceSection($0)) }
        try saveOthers(runState: "running", now: now) { sections.append(DeviceSection($0)) }
        return sections
    }

    /// Loads into the devices and the virtual CPUs what they have. Clocks and interrupt controllers are left alone: they
    /// go on meanwhile.
    public func rehearseLoading(_ sections: [DeviceSection]) throws {
        defer { _ = takeLoadedSections() }
        for section in sections {
            try takeSection(name: section.name, instance: Int(section.instance), section.received)
        }
        let states = takeLoadedSections().cpus
        for cpu in threads.cpus {
            guard let state = states[cpu.index] else { continue }
            try VirtualCPUState.load([state], into: [cpu], layout: xsaveLayout, virtualClock: clock.now)
        }
    }

    public func announce() {
        for case let network as NetworkDevice in configuration.devices { network.announce() }
    }

    public func makeMissingMemory() throws -> any MissingMemory {
        let pageWaits = threads.cpus.count > 1 ? PageWaits(threads.cpus) : nil
        return try UserFaultMemory(regions.map(\.block), virtualCPUThreadIDs, pageWaits)
    }
}

extension DeviceSection {
    fileprivate init(_ section: MachineSection) {
        self.init(
            name: section.name, instance: UInt32(section.instance), version: UInt32(section.state.version),
            state: section.state.bytes, describe: { section.state.structure })
    }

    fileprivate var received: ReceivedState { ReceivedState(version: Int(version), bytes: state, decoded: decoded) }
}

extension RAMBlock {
    /// Whether there is something where a processor begins: 16 bytes below the end, a jump in every firmware.
    fileprivate var hasResetVector: Bool {
        let bytes = bytes(at: byteCount - 16, count: 16)
        return bytes.loadUnaligned(as: UInt64.self) != 0 || bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self) != 0
    }
}
