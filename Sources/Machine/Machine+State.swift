internal import CLinux
internal import Devices
internal import GuestMemory
internal import KVM
internal import LinuxSystem
internal import MigrationStream
internal import Synchronization

/// The machine's state as the sections of QEMU's `microvm`, in QEMU's order.
extension Machine {
    /// Every device and CPU of a paused machine.
    ///
    /// - Parameter runState: what the guest is to be at the destination: "running", "paused", "prelaunch".
    public func saveSections(runState: String) throws -> [MachineSection] {
        let now = clock.now
        let cpus = try threads.cpus.map { try VirtualCPUState(saving: $0, layout: xsaveLayout, virtualClock: now) }
        return try sections(of: cpus, runState: runState, now: now)
    }

    /// What there would be to save of one virtual CPU and all devices, also while the guest runs: for rehearsals. The CPU
    /// is as it was made, as one that runs cannot be asked.
    func rehearseSections() throws -> [MachineSection] {
        let now = clock.now
        let cpu = VirtualCPUState(firstKernelCPU, layout: xsaveLayout, virtualClock: now)
        return try sections(of: [cpu], runState: "running", now: now)
    }

    private func sections(of cpus: [VirtualCPUState], runState: String, now: Int64) throws -> [MachineSection] {
        var timer = TimerState()
        timer.clockOffset = now
        timer.ticksOffset = Int64(bitPattern: cpus[0].cpu.timeStampCounter)
        var sections = [MachineSection(timer), MachineSection(arrival.withLock { $0.firmwareConfiguration })]
        for (index, cpu) in cpus.enumerated() {
            sections += [MachineSection(cpu.common, instance: index), MachineSection(cpu.cpu, instance: index)]
            if index == 0 { sections.append(MachineSection(TPROptimizationState())) }
            sections.append(MachineSection(cpu.apic, instance: index))
        }
        sections.append(MachineSection(MigrationStream::IOAPICState(try kvm.getIOAPIC())))
        sections.append(MachineSection(try kvmClock.withLock { $0 } ?? readKVMClock()))
        sections.append(MachineSection(events.sectionName, events.saveSection()))
        sections.append(MachineSection(PICState(try kvm.getPIC(.primaryPIC)), instance: 0))
        sections.append(MachineSection(PICState(try kvm.getPIC(.secondaryPIC)), instance: 1))
        sections.append(
            MachineSection(PITState(try kvm.getTimer(), clockOffset: now &- monotonicNanoseconds, virtualClock: now)))
        if let clockDevice { sections.append(MachineSection(clockDevice.sectionName, clockDevice.saveSection())) }
        sections.append(MachineSection(serial.sectionName, serial.saveSection()))
        sections += transportSections.map { MachineSection($0.name, $0.transport.saveSection()) }
        var global = GlobalState()
        global.runState = runState
        sections.append(MachineSection(global))
        return sections
    }

    /// The description that goes with sections, as QEMU 7.2 writes it.
    public static func description(of sections: [MachineSection]) -> String {
        let devices = sections.map {
            DeviceDescription(name: $0.name, instanceID: $0.instance, structure: $0.state.structure)
        }
        return VMDescriptionWriter(VMDescription(pageSize: 4096, devices: devices)).text
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
        } else if let device = DeviceStateCatalog.device(for: name), isOwn(name, instance) {
            newest = type(of: device).currentVersion
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

    /// Takes in the payload of one section. Devices take it at once; CPUs, clocks and interrupt controllers when all
    /// has come (`finishLoadingSections`), because they depend on one another.
    public func loadSection(name: String, instance: Int, version: Int, payload: [UInt8]) throws {
        try checkSection(name: name, instance: instance, version: version)
        if let transport = transportSections.first(where: { $0.name == name })?.transport {
            try transport.loadSection(payload, version: version)
            loading.withLock { _ = $0.devices.insert(name) }
            return
        }
        switch name {
        case "mc146818rtc": try clockDevice?.loadSection(payload, version: version)
        case "serial": try serial.loadSection(payload, version: version)
        case "acpi-ged": try events.loadSection(payload, version: version)
        case "fw_cfg":
            let state = try decode(FirmwareConfigurationState.self, payload, version)
            arrival.withLock { $0.firmwareConfiguration = state }
        // Read for its form only: there is nothing here that it could set.
        case "kvm-tpr-opt": _ = try decode(TPROptimizationState.self, payload, version)
        default: try loadCore(name, instance, version, payload)
        }
        loading.withLock { _ = $0.devices.insert(name) }
    }

    private func decode<State: DeviceState>(_ type: State.Type, _ payload: [UInt8], _ version: Int) throws -> State {
        var state = State()
        try state.load(payload, version: version)
        return state
    }

    private func loadCore(_ name: String, _ instance: Int, _ version: Int, _ payload: [UInt8]) throws {
        try loading.withLock { loading in
            switch name {
            case "timer": loading.timer = try decode(TimerState.self, payload, version)
            case "cpu_common":
                loading.cpus[instance, default: VirtualCPUState()].common = try decode(
                    CPUCommonState.self, payload, version)
            case "cpu":
                loading.cpus[instance, default: VirtualCPUState()].cpu = try decode(CPUState.self, payload, version)
            case "apic":
                loading.cpus[instance, default: VirtualCPUState()].apic = try decode(
                    MigrationStream::LocalAPICState.self, payload, version)
            case "ioapic": loading.ioAPIC = try decode(MigrationStream::IOAPICState.self, payload, version)
            case "i8259":
                let state = try decode(PICState.self, payload, version)
                if instance == 0 { loading.primaryPIC = state } else { loading.secondaryPIC = state }
            case "i8254": loading.intervalTimer = try decode(PITState.self, payload, version)
            case "kvmclock": loading.kvmClock = try decode(KVMClockState.self, payload, version)
            case "globalstate": loading.global = try decode(GlobalState.self, payload, version)
            default: throw MachineLoadError.unknownSection(name: name, instance: instance)
            }
            loading.cpuSections.insert("\(name) \(instance)")
        }
    }

    /// Puts everything that was loaded in force. The run state that the guest had at the source.
    ///
    /// - Throws: what is missing, or what this host's KVM refuses. The machine is then to be thrown away.
    @discardableResult public func finishLoadingSections() throws -> String {
        let loaded = takeLoadedSections()
        let cpuCount = threads.cpus.indices.prefix { loaded.cpuSections.contains("cpu \($0)") }.count
        let others = threads.cpus.indices.dropFirst(cpuCount).flatMap { ["cpu \($0)", "apic \($0)"] }
        if cpuCount > 0 && !others.isEmpty && loaded.cpuSections.isDisjoint(with: others) {
            throw MachineLoadError.cpuCount(here: threads.cpus.count, there: cpuCount)
        }
        let wanted = threads.cpus.indices.flatMap { ["cpu \($0)", "apic \($0)"] }
        let missing =
            wanted.filter { !loaded.cpuSections.contains($0) }
            + transportSections.map(\.name).filter { !loaded.devices.contains($0) }
            + (loaded.timer == nil ? ["timer"] : [])
            + (clockDevice.map { [$0.sectionName] } ?? []).filter { !loaded.devices.contains($0) }
        guard missing.isEmpty, let timer = loaded.timer else { throw MachineLoadError.missingSections(missing) }
        clock.set(timer.clockOffset)
        try VirtualCPUState.load(
            threads.cpus.compactMap { loaded.cpus[$0.index] }, into: threads.cpus, layout: xsaveLayout,
            virtualClock: timer.clockOffset)
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
