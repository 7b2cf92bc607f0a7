internal import CLinux
public import Devices
public import GuestMemory
internal import KVM
internal import LinuxSystem
internal import Migration
internal import MigrationStream
internal import Synchronization

/// What a machine tells its owner. Called on any thread; must not block.
public protocol MachineObserver: AnyObject, Sendable {
    /// The guest wants to be turned off or reset. It still runs, apart from the virtual CPU that said so.
    func machine(_ machine: Machine, guestAsksFor event: SystemEvent)
    /// A virtual CPU cannot go on.
    func machine(_ machine: Machine, failed failure: VirtualCPUFailure)
}

/// A running `microvm`: KVM, memory, devices, and the threads of the virtual CPUs.
///
///     init --> paused <--pause, resume--> running        end: over
///              paused: reset, saveSections, loadSection, readDirtyLog ...
///
/// One owner calls what changes the run state, one call at a time.
public final class Machine: Sendable {
    public let configuration: MachineConfiguration
    public let layout: MachineLayout
    /// All that the guest and its devices can address.
    public let memory: GuestAddressSpace
    public let ram: RAMBlock
    public let serial: SerialPort
    public let clockDevice: RealTimeClock?
    public let events: GenericEventDevice
    /// Transports in the order of their addresses, most without a device.
    public let transports: [MMIOTransport]
    /// Transports with a device, in the order of the configuration, and the names of their sections.
    let transportSections: [(name: String, transport: MMIOTransport)]

    let kvm: KVMVirtualMachine
    let threads: VirtualCPUThreads
    let clock = VirtualClock()
    let xsaveLayout: XSaveLayout
    let slots: [MemorySlot]
    /// Who wrote which page; nil where the kernel's dirty log is used.
    let dirtyRings: DirtyRingLog?
    let dirtyRates = Mutex(DirtyRateMeter())
    let dirtyGovernor: DirtyGovernor
    let firmware: RAMBlock
    /// Memory of QEMU's firmware that the guest cannot see; empty unless a guest is to arrive.
    let firmwareFiles: [RAMBlock]
    let arrival: Mutex<Arrival>
    let failures: FailureCounter
    /// The virtual CPUs as they were made: what a reset brings back.
    private let freshCPUs: [VirtualCPUState]
    /// The first of them, as the kernel told it.
    let firstKernelCPU: KernelCPUState
    private let freshTimer: PITState
    private struct Observer: Sendable { weak let object: (any MachineObserver)? }
    private let observer = Mutex(Observer(object: nil))
    /// KVM's clock at which the guest stands still; nil before it first ran.
    let kvmClock = Mutex<KVMClockState?>(nil)
    let loading = Mutex(LoadedSections())

    /// What is known of where the guest comes from.
    struct Arrival: Sendable {
        /// Whether a guest is still to come.
        var isAwaited: Bool
        /// Whether the guest came with firmware, which then goes on with it; nil if nobody has looked yet.
        var hasFirmware: Bool? = false
        var firmwareConfiguration = FirmwareConfigurationState.microvm
    }

    /// A part of a block in one of KVM's memory slots.
    struct MemorySlot: Sendable {
        let number: UInt32
        let region: GuestAddressSpace.Region
    }

    /// Makes the machine, paused at its first instruction; with a boot source, the kernel is in memory.
    ///
    /// - Throws: `MachineError`, `BootError` or `SystemError`; nothing is left behind then.
    public init(_ configuration: MachineConfiguration) throws {
        try configuration.validate()
        self.configuration = configuration
        layout = MachineLayout(ramByteCount: configuration.ramByteCount)
        let system = try Self.openKVM()
        try Self.check(system, dirtyRingCapacity: configuration.dirtyRingCapacity)
        kvm = try Self.makeVirtualMachine(system, dirtyRingCapacity: configuration.dirtyRingCapacity)
        ram = try Self.makeBlock(
            MachineLayout.ramBlockName, configuration.memoryKind, byteCount: configuration.ramByteCount)
        firmware = try Self.makeBlock(
            MachineLayout.firmwareBlockName, .anonymousSmallPages, byteCount: MachineLayout.firmwareByteCount)
        firmwareFiles = try configuration.awaitsGuest ? Self.makeFirmwareFiles() : []
        failures = FailureCounter(configuration.failure)
        arrival = Mutex(Arrival(isAwaited: configuration.awaitsGuest))
        let regions =
            layout.regions(of: ram) + [
                .init(
                    address: GuestAddress(MachineLayout.firmwareAddress), byteCount: firmware.byteCount,
                    block: firmware, isReadOnly: true)
            ]
        memory = GuestAddressSpace(regions: regions)
        slots = regions.enumerated().map { MemorySlot(number: UInt32($0.offset), region: $0.element) }
        for slot in slots { try kvm.set(slot) }
        freshTimer = PITState(try kvm.getTimer(), clockOffset: 0, virtualClock: 0)

        let relay = EventRelay()
        serial = SerialPort(
            line: KVMInterruptLine(machine: kvm, gsi: MachineLayout.serialInterrupt), channel: configuration.serial)
        clockDevice =
            configuration.hasClock
            ? RealTimeClock(
                line: KVMInterruptLine(machine: kvm, gsi: MachineLayout.clockInterrupt), memory: layout.clockMemory)
            : nil
        events = GenericEventDevice(
            line: KVMInterruptLine(machine: kvm, gsi: MachineLayout.eventInterrupt), receiver: relay)
        transports = try Self.makeTransports(configuration, kvm, memory)
        transportSections = configuration.devices.indices.map { [transports] position in
            let index = MachineLayout.transport(forDevice: position)
            return ("\(MachineLayout.path(ofTransport: index))/\(transports[index].sectionName)", transports[index])
        }

        let supported = try system.supportedCPUID()
        let hasDeadlineTimer = system.value(of: .tscDeadlineTimer) != 0
        let xsaveLayout = XSaveLayout(cpuid: supported)
        self.xsaveLayout = xsaveLayout
        let cpus = try (0..<configuration.cpuCount).map { [kvm] index in
            let cpu = try kvm.makeVirtualCPU(index: index)
            try cpu.setCPUID(
                GuestCPUID.entries(
                    supported: supported, index: index, count: configuration.cpuCount,
                    hasDeadlineTimer: hasDeadlineTimer))
            if configuration.initialXCR0 != 1 { try cpu.setInitialXCR0(configuration.initialXCR0) }
            return cpu
        }
        let kernelCPUs = try cpus.map { try KernelCPUState(reading: $0) }
        firstKernelCPU = kernelCPUs[0]
        freshCPUs = kernelCPUs.map { VirtualCPUState($0, layout: xsaveLayout, virtualClock: 0) }
        dirtyRings = try configuration.dirtyRingCapacity.map { [kvm, slots] capacity in
            try DirtyRingLog(capacity: capacity, cpus: cpus, machine: kvm, slots: slots)
        }
        threads = try VirtualCPUThreads(
            cpus: cpus, dirtyRings: dirtyRings,
            ports: Self.portBus(serial, clockDevice),
            memory: Self.memoryBus(events, transports))
        let counter = DirtiedPageCounter(rings: dirtyRings, machine: kvm, slots: slots, cpuCount: cpus.count)
        dirtyGovernor = DirtyGovernor(threads: threads) { try counter.counts() }
        relay.connect(to: self)
        for device in allDevices { device.pause() }
        try threads.start(reportingTo: self)
        if let boot = configuration.boot, !configuration.awaitsGuest { try load(BootImages(boot)) }
    }

    /// Ends the threads of virtual CPUs and devices, for good. The machine is not used afterwards.
    public func end() {
        dirtyGovernor.set(nil)
        threads.end()
        clockDevice?.end()
        for transport in transports { transport.end() }
    }

    public func setObserver(_ object: any MachineObserver) { observer.withLock { $0 = Observer(object: object) } }

    /// Every device with registers, in the order in which they are reset, paused and resumed.
    var allDevices: [any Device] { [serial] + (clockDevice.map { [$0] } ?? []) + [events] + transports }

    /// The first balloon among the devices, nil when there is none.
    public var balloon: BalloonDevice? { configuration.devices.lazy.compactMap { $0 as? BalloonDevice }.first }

    /// The kernel's ids of the virtual CPUs' threads.
    public var virtualCPUThreadIDs: [Int32] { threads.threadIDs }

    // MARK: Running

    /// Lets the guest run.
    ///
    /// - Throws: As `prepareToResume`.
    public func resume() throws {
        try prepareToResume()
        resumePrepared()
    }

    /// Does all of `resume` that can fail.
    ///
    /// - Throws: Also if another holds the lock of one of its disks or its memory, which were given up at a hand-over, or
    ///   has run the guest in that memory.
    public func prepareToResume() throws {
        for disk in disks { try disk.takeLock() }
        if let state = kvmClock.withLock({ $0 }) { try kvm.setClock(nanoseconds: state.clock) }
        try ram.lock?.beginUse()
        // The guest's watchdogs are told that time has passed without them; a guest without kvmclock has no such ear.
        for cpu in threads.cpus { try? cpu.markPaused() }
    }

    /// Lets the guest run after `prepareToResume`. Does not wait for anything.
    public func resumePrepared() {
        for device in allDevices { device.resume() }
        clock.start()
        threads.resume()
    }

    /// Stops the guest: when this returns, neither virtual CPUs nor devices write its memory or its disks.
    public func pause() throws {
        threads.pause()
        clock.stop()
        for device in allDevices { device.pause() }
        let now = try readKVMClock()
        kvmClock.withLock { $0 = now }
    }

    /// Brings a paused machine back to its first instruction; with a boot source, the kernel is loaded anew.
    ///
    /// - Throws: Also if there is nothing to boot, or its files are not there; the machine is then as it was.
    public func reset() throws {
        guard let boot = configuration.boot else { throw MachineError.nothingToBoot }
        let images = try BootImages(boot)
        // Memory that was handed over is not this machine's to write.
        try ram.lock?.take()
        try ram.lock?.beginAnew()
        for device in allDevices { device.reset() }
        try VirtualCPUState.load(freshCPUs, into: threads.cpus, layout: xsaveLayout, virtualClock: clock.now)
        try kvm.resetInterruptControllers(timer: freshTimer)
        try load(images)
    }

    /// The files of a boot source, opened.
    private struct BootImages {
        let kernel: ImageFile
        let initialRAMDisk: ImageFile?
        let commandLine: String

        init(_ source: BootSource) throws {
            kernel = try ImageFile(path: source.kernelPath)
            initialRAMDisk = try source.initialRAMDiskPath.map { try ImageFile(path: $0) }
            commandLine = source.commandLine
        }
    }

    private func load(_ images: BootImages) throws {
        let tables = ACPITables(
            .init(
                virtualCPUCount: configuration.cpuCount,
                transports: configuration.devices.indices.map { MachineLayout.transport(forDevice: $0) },
                hasClock: configuration.hasClock))
        try memory.write(tables.bytes, at: GuestAddress(tables.address))
        let entry = try KernelLoader(layout: layout, memory: memory).load(
            kernel: images.kernel, initialRAMDisk: images.initialRAMDisk, commandLine: images.commandLine,
            rsdp: tables.address)
        try threads.cpus[0].prepare(for: entry)
    }
}

extension Machine: VirtualCPUEventReceiver {
    func receive(_ event: SystemEvent) {
        observer.withLock { $0.object }?.machine(self, guestAsksFor: event)
    }

    func virtualCPUFailed(_ failure: VirtualCPUFailure) {
        observer.withLock { $0.object }?.machine(self, failed: failure)
    }
}

/// Lets devices, made before the machine, reach it.
private final class EventRelay: SystemEventReceiver {
    private struct Weak: Sendable { weak let machine: Machine? }
    private let weak = Mutex(Weak(machine: nil))
    func connect(to machine: Machine) { weak.withLock { $0 = Weak(machine: machine) } }
    func receive(_ event: SystemEvent) { weak.withLock { $0.machine }?.receive(event) }
}
