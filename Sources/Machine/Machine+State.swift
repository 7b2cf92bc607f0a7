internal import CLinux
internal import Devices
internal import GuestMemory
internal import KVM
internal import LinuxSystem
internal import Migration
public import MigrationStream
internal import Synchronization

/// The machine's state as the sections of QEMU's `microvm`, in QEMU's order.
extension Machine {
    /// Every device and CPU of a paused machine.
    ///
    /// - Parameter runState: what the guest is to be at the destination: "running", "paused", "prelaunch".
    public func saveSections(runState: String) throws -> [MachineSection] {
        var sections: [MachineSection] = []
        for part in DevicePart.allCases { try saveSections(part, runState: runState) { sections.append($0) } }
        return sections
    }

    /// The same, a part and a section at a time.
    func saveSections(
        _ part: DevicePart, runState: String, _ receive: (MachineSection) throws -> Void
    ) throws {
        let now = clock.now
        switch part {
        case .processors:
            for cpu in threads.cpus {
                let state = try VirtualCPUState(saving: cpu, layout: xsaveLayout, virtualClock: now)
                try save(state, index: cpu.index, now: now, receive)
            }
        case .others: try saveOthers(runState: runState, now: now, receive)
        }
    }

    /// A virtual CPU, and what stands before the first.
    func save(
        _ cpu: VirtualCPUState, index: Int, now: Int64, _ receive: (MachineSection) throws -> Void
    ) throws {
        if index == 0 {
            var timer = TimerState()
            timer.clockOffset = now
            timer.ticksOffset = Int64(bitPattern: cpu.cpu.timeStampCounter)
            try receive(MachineSection(timer))
            try receive(MachineSection(arrival.withLock { $0.firmwareConfiguration }))
        }
        try receive(MachineSection(cpu.common, instance: index))
        try receive(MachineSection(cpu.cpu, instance: index))
        if index == 0 { try receive(MachineSection(TPROptimizationState())) }
        try receive(MachineSection(cpu.apic, instance: index))
    }

    func saveOthers(runState: String, now: Int64, _ receive: (MachineSection) throws -> Void) throws {
        try receive(MachineSection(MigrationStream::IOAPICState(try kvm.getIOAPIC())))
        try receive(MachineSection(try kvmClock.withLock { $0 } ?? readKVMClock()))
        try receive(MachineSection(events.sectionName, events.saveSection()))
        try receive(MachineSection(PICState(try kvm.getPIC(.primaryPIC)), instance: 0))
        try receive(MachineSection(PICState(try kvm.getPIC(.secondaryPIC)), instance: 1))
        try receive(
            MachineSection(PITState(try kvm.getTimer(), clockOffset: now &- monotonicNanoseconds, virtualClock: now)))
        if let clockDevice { try receive(MachineSection(clockDevice.sectionName, clockDevice.saveSection())) }
        try receive(MachineSection(serial.sectionName, serial.saveSection()))
        for (name, transport) in transportSections { try receive(MachineSection(name, transport.saveSection())) }
        var global = GlobalState()
        global.runState = runState
        try receive(MachineSection(global))
    }

    /// KVM's clock now, and whether all virtual CPUs' time stamp counters agree with it.
    func readKVMClock() throws -> KVMClockState {
        let now = try kvm.getClock()
        var state = KVMClockState()
        state.clock = now.clock
        state.isReliable = now.flags & 2 != 0  // KVM_CLOCK_TSC_STABLE
        return state
    }

    // MARK: Loading

    /// Says whether a section can be loaded, before its payload is read.
    public func checkSection(name: String, instance: Int, version: Int) throws {
        let newest: Int
        if let transport = transportSections.first(where: { $0.name == name }) {
            newest = transport.transport.sectionVersion
        } else if let version = DeviceStateCatalog.newestVersion(of: name), isOwn(name, instance) {
            newest = version
        } else if name == "cpu" || name == "cpu_common" || name == "apic" {
            throw MachineLoadError.cpuCount(here: configuration.cpuCount, there: instance + 1)
        } else {
            throw MachineLoadError.unknownSection(name: name, instance: instance)
        }
        guard version <= newest else {
            throw MachineLoadError.unsupportedVersion(name: name, found: version, newest: newest)
        }
    }

    private func isOwn(_ name: String, _ instance: Int) -> Bool {
        switch name {
        case "cpu", "cpu_common", "apic": instance < configuration.cpuCount
        case "i8259": instance < 2
        case "timer", "fw_cfg", "kvm-tpr-opt", "ioapic", "kvmclock", "acpi-ged", "i8254", "serial", "globalstate":
            instance == 0
        case "mc146818rtc": instance == 0 && clockDevice != nil
        default: false
        }
    }

    /// Takes in the payload of one section. Devices take it at once; CPUs together with the last of them, because they
    /// depend on one another; clocks and interrupt controllers when all has come (`finishLoadingSections`).
    public func loadSection(name: String, instance: Int, _ section: ReceivedState) throws {
        try takeSection(name: name, instance: instance, section)
        if name == "apic" || name == "cpu" { try loadCPUs(hasMemory: false) }
    }

    /// Takes in the payload of one section without putting a CPU's in force.
    func takeSection(name: String, instance: Int, _ section: ReceivedState) throws {
        try checkSection(name: name, instance: instance, version: section.version)
        if let transport = transportSections.first(where: { $0.name == name })?.transport {
            try transport.loadSection(section)
            loading.withLock { _ = $0.devices.insert(name) }
            return
        }
        switch name {
        case "mc146818rtc": try clockDevice?.loadSection(section)
        case "serial": try serial.loadSection(section)
        case "acpi-ged": try events.loadSection(section)
        case "fw_cfg":
            let state = try section.state(FirmwareConfigurationState.self)
            arrival.withLock { $0.firmwareConfiguration = state }
        // Read for its form only: there is nothing here that it could set.
        case "kvm-tpr-opt": _ = try section.state(TPROptimizationState.self)
        default: try loadCore(name, instance, section)
        }
        loading.withLock { _ = $0.devices.insert(name) }
    }

    private func loadCore(_ name: String, _ instance: Int, _ section: ReceivedState) throws {
        try loading.withLock { loading in
            switch name {
            case "timer": loading.timer = try section.state(TimerState.self)
            case "cpu_common":
                loading.cpus[instance, default: VirtualCPUState()].common = try section.state(CPUCommonState.self)
            case "cpu":
                loading.cpus[instance, default: VirtualCPUState()].cpu = try section.state(CPUState.self)
            case "apic":
                loading.cpus[instance, default: VirtualCPUState()].apic = try section.state(
                    MigrationStream::LocalAPICState.self)
            case "ioapic": loading.ioAPIC = try section.state(MigrationStream::IOAPICState.self)
            case "i8259":
                let state = try section.state(PICState.self)
                if instance == 0 { loading.primaryPIC = state } else { loading.secondaryPIC = state }
            case "i8254": loading.intervalTimer = try section.state(PITState.self)
            case "kvmclock": loading.kvmClock = try section.state(KVMClockState.self)
            case "globalstate": loading.global = try section.state(GlobalState.self)
            default: throw MachineLoadError.unknownSection(name: name, instance: instance)
            }
            if let kind = LoadedSections.CPUSection.Kind(rawValue: name) {
                loading.cpuSections.insert(.init(kind: kind, index: instance))
            }
        }
    }

    /// Puts the CPUs in force once all have come, and with them the clock.
    ///
    /// - Parameter hasMemory: Whether all of memory has come as well.
    private func loadCPUs(hasMemory: Bool) throws {
        let loaded = loading.withLock { loading -> (timer: TimerState, cpus: [VirtualCPUState])? in
            guard let timer = loading.timer, !loading.hasCPUs else { return nil }
            let cpus = threads.cpus.compactMap { cpu in
                LoadedSections.CPUSection.all(of: cpu.index).allSatisfy(loading.cpuSections.contains)
                    ? loading.cpus[cpu.index] : nil
            }
            guard cpus.count == threads.cpus.count else { return nil }
            if !hasMemory && cpus.contains(where: \.loadingReadsMemory) { return nil }
            loading.hasCPUs = true
            return (timer, cpus)
        }
        guard let loaded else { return }
        clock.set(loaded.timer.clockOffset)
        try VirtualCPUState.load(
            loaded.cpus, into: threads.cpus, layout: xsaveLayout, virtualClock: loaded.timer.clockOffset)
    }

    /// Puts everything that was loaded in force. The run state that the guest had at the source.
    ///
    /// - Throws: what is missing, or what this host's KVM refuses. The machine is then to be thrown away.
    @discardableResult public func finishLoadingSections() throws -> String {
        try loadCPUs(hasMemory: true)
        let loaded = takeLoadedSections()
        let cpuCount = threads.cpus.indices.prefix { loaded.cpuSections.contains(.init(kind: .cpu, index: $0)) }.count
        let others = threads.cpus.indices.dropFirst(cpuCount).flatMap(LoadedSections.CPUSection.all)
        if cpuCount > 0 && !others.isEmpty && loaded.cpuSections.isDisjoint(with: others) {
            throw MachineLoadError.cpuCount(here: threads.cpus.count, there: cpuCount)
        }
        let wanted = threads.cpus.indices.flatMap(LoadedSections.CPUSection.all)
        let missing =
            wanted.filter { !loaded.cpuSections.contains($0) }.map(\.description)
            + transportSections.map(\.name).filter { !loaded.devices.contains($0) }
            + (loaded.timer == nil ? ["timer"] : [])
            + (clockDevice.map { [$0.sectionName] } ?? []).filter { !loaded.devices.contains($0) }
        guard missing.isEmpty, let timer = loaded.timer else { throw MachineLoadError.missingSections(missing) }
        if let state = loaded.primaryPIC { try kvm.setPIC(.primaryPIC, state.kernelState(levelMask: 0xF8)) }
        if let state = loaded.secondaryPIC { try kvm.setPIC(.secondaryPIC, state.kernelState(levelMask: 0xDE)) }
        if let state = loaded.ioAPIC { try kvm.setIOAPIC(state.kernelState(address: MachineLayout.ioAPICAddress)) }
        if let state = loaded.intervalTimer {
            try kvm.setTimer(state.kernelState(clockOffset: timer.clockOffset &- monotonicNanoseconds))
        }
        arrival.withLock { arrival in
            arrival.isAwaited = false
            // In post-copy a look would have to wait for the page, while the guest stands still.
            arrival.hasFirmware = nil
        }
        if let state = loaded.kvmClock { kvmClock.withLock { $0 = state } }
        return loaded.global?.runState ?? "paused"
    }

    func takeLoadedSections() -> LoadedSections {
        loading.withLock { loading in
            defer { loading = LoadedSections() }
            return loading
        }
    }
}

extension FirmwareConfigurationState {
    /// The device QEMU's firmware reads the machine's configuration from. There is none here and a guest that runs has
    /// no more use for it; the section is what a destination that has one expects.
    static var microvm: FirmwareConfigurationState {
        var state = FirmwareConfigurationState()
        state.acpi = .init(tables: 0x1000, linker: 0x1000, rsdp: 0x1000)
        return state
    }
}
