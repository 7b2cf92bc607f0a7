internal import CLinux
internal import Devices
internal import GuestMemory
internal import KVM
internal import LinuxSystem
internal import MigrationStream

/// How a machine is put together.
extension Machine {
    /// Says whether this host's KVM runs machines at all, and with such dirty rings.
    ///
    /// - Throws: The `MachineError` that making a machine would meet.
    public static func checkHost(dirtyRingCapacity: Int? = nil) throws {
        try check(try openKVM(), dirtyRingCapacity: dirtyRingCapacity)
    }

    static func openKVM() throws(MachineError) -> KVMSystem {
        do throws(SystemError) { return try KVMSystem() } catch { throw .noKVM(error) }
    }

    static func check(_ system: KVMSystem, dirtyRingCapacity: Int?) throws(MachineError) {
        let needs: [(KVMCapability, String)] = [
            (.interruptController, "an interrupt controller"), (.pit2, "a timer"), (.xsave, "XSAVE"),
            (.virtualCPUEvents, "virtual CPU events"), (.immediateExit, "immediate exit"), (.adjustClock, "a clock"),
        ]
        for (capability, name) in needs where system.value(of: capability) == 0 { throw .missingCapability(name) }
        guard let capacity = dirtyRingCapacity else { return }
        let largest = DirtyRingLog.largestCapacity(of: system)
        guard capacity >= MachineConfiguration.smallestDirtyRing, capacity <= largest, capacity.nonzeroBitCount == 1
        else { throw .dirtyRing(capacity: capacity, largest: largest) }
    }

    /// KVM's part without memory and virtual CPUs: interrupt controllers, timer, and a dirty log that is cleared by hand.
    ///
    /// With a dirty ring instead of the log, the log's manual protection stays off: KVM would begin with all pages
    /// writable and report none.
    static func makeVirtualMachine(_ system: KVMSystem, dirtyRingCapacity: Int?) throws -> KVMVirtualMachine {
        let machine = try system.makeVirtualMachine()
        try machine.setTSSAddress(MachineLayout.tssAddress)
        try machine.setIdentityMapAddress(MachineLayout.identityMapAddress)
        try machine.makeInterruptController()
        try machine.makeTimer()
        try machine.setRouting(routes)
        if let capacity = dirtyRingCapacity {
            try DirtyRingLog.enable(capacity: capacity, for: machine)
            return machine
        }
        let manual = system.value(of: .manualDirtyLogProtection)
        if manual != 0 { try machine.enable(.manualDirtyLogProtection, UInt64(manual & 3)) }
        return machine
    }

    /// ISA interrupts reach a PIC and the IOAPIC, the timer's 0 on pin 2 there; the rest the IOAPIC alone.
    private static var routes: [KVMVirtualMachine.Route] {
        var routes: [KVMVirtualMachine.Route] = []
        for gsi in 0..<UInt32(MachineLayout.ioAPICPinCount) {
            if gsi < 8 { routes.append(.init(gsi: gsi, .pin(.primaryPIC, gsi))) }
            if (8..<16).contains(gsi) { routes.append(.init(gsi: gsi, .pin(.secondaryPIC, gsi - 8))) }
            if gsi != 2 { routes.append(.init(gsi: gsi, .pin(.ioAPIC, gsi == 0 ? 2 : gsi))) }
        }
        return routes
    }

    static func makeBlock(_ name: String, _ kind: MemoryMapping.Kind, byteCount: Int) throws -> RAMBlock {
        do throws(SystemError) {
            // Reserved, so that memory the host does not have is refused here and not when the guest touches it.
            return RAMBlock(
                name: name, mapping: try MemoryMapping(kind, byteCount: byteCount, name: name, reservesMemory: true))
        } catch {
            guard case .hugePages(let size) = kind else { throw MachineError.noMemory(byteCount: byteCount, error) }
            let pool = "/sys/kernel/mm/hugepages/hugepages-\(size >> 10)kB/free_hugepages"
            let free = FileSystem.text(of: pool).flatMap { Int($0.filter(\.isNumber)) } ?? 0
            throw MachineError.noHugePages(pageSize: size, needed: byteCount / size, free: free)
        }
    }

    /// The files that QEMU's firmware reads its tables from are RAM blocks of their own in QEMU's stream. They are taken
    /// and left unused: nobody can read them here, and a QEMU that the guest moves on to has its own.
    static func makeFirmwareFiles() throws -> [RAMBlock] {
        try [
            ("/rom@etc/acpi/tables", 0x20_0000), ("/rom@etc/table-loader", 0x1_0000), ("/rom@etc/acpi/rsdp", 0x1000),
        ].map { try makeBlock($0, .anonymousSmallPages, byteCount: $1) }
    }

    static func makeTransports(
        _ configuration: MachineConfiguration, _ kvm: KVMVirtualMachine, _ memory: GuestAddressSpace
    ) throws(SystemError) -> [MMIOTransport] {
        var devices: [Int: any VirtioDevice] = [:]
        for (position, device) in configuration.devices.enumerated() {
            devices[MachineLayout.transport(forDevice: position)] = device
        }
        var transports: [MMIOTransport] = []
        for index in 0..<MachineLayout.transportCount {
            guard let device = devices[index] else {
                transports.append(MMIOTransport())
                continue
            }
            let line = KVMInterruptLine(machine: kvm, gsi: MachineLayout.interrupt(ofTransport: index))
            let transport = try MMIOTransport(device: device, memory: memory, line: line)
            try transport.attachNotifications(to: kvm, address: MachineLayout.address(ofTransport: index))
            transports.append(transport)
        }
        return transports
    }

    static func portBus(_ serial: SerialPort, _ clock: RealTimeClock?) -> Bus {
        var mappings = [Bus.Mapping(address: MachineLayout.serialPort, byteCount: SerialPort.byteCount, device: serial)]
        if let clock {
            mappings.append(
                .init(address: MachineLayout.clockPort, byteCount: RealTimeClock.byteCount, device: clock))
        }
        return .ports(mappings)
    }

    static func memoryBus(_ events: GenericEventDevice, _ transports: [MMIOTransport]) -> Bus {
        let eventMappings: [Bus.Mapping] = [
            .init(
                address: GenericEventDevice.eventAddress, byteCount: GenericEventDevice.eventByteCount, device: events),
            .init(
                address: GenericEventDevice.sleepAddress, byteCount: GenericEventDevice.sleepByteCount,
                device: events.sleepRegisters),
        ]
        let transportMappings = transports.enumerated().map { index, transport in
            Bus.Mapping(
                address: MachineLayout.address(ofTransport: index), byteCount: MMIOTransport.byteCount,
                device: transport)
        }
        return .memory(eventMappings + transportMappings)
    }
}

extension MMIOTransport {
    /// Has KVM itself notify the queues' server, so that a virtual CPU need not leave the guest for it.
    fileprivate func attachNotifications(to kvm: KVMVirtualMachine, address: UInt64) throws(SystemError) {
        guard let server else { return }
        for queue in 0..<server.queueCount {
            try server.withNotification(of: queue) { event throws(SystemError) in
                try kvm.attachNotify(
                    .memory(address + Self.notifyOffset), width: 4, value: UInt64(queue), to: event)
            }
        }
    }
}

extension MachineConfiguration {
    func validate() throws(MachineError) {
        guard Self.cpuCounts.contains(cpuCount) else { throw .cpuCount(cpuCount) }
        guard ramByteCount > 0, ramByteCount % (2 << 20) == 0 else { throw .memorySize(ramByteCount) }
        guard devices.count <= MachineLayout.transportCount else { throw .tooManyDevices(devices.count) }
    }
}

extension KVMVirtualMachine {
    /// Makes a slot visible to the guest, logging its writes or not.
    func set(_ slot: Machine.MemorySlot, logsDirtyPages: Bool = false) throws(SystemError) {
        var flags: MemorySlotFlags = logsDirtyPages ? [.logsDirtyPages] : []
        if slot.region.isReadOnly { flags.insert(.isReadOnly) }
        try setMemorySlot(
            slot.number, guestAddress: slot.region.address.value,
            hostAddress: slot.region.block.hostAddress + slot.region.blockOffset, byteCount: slot.region.byteCount,
            flags: flags)
    }

    /// Brings PICs, IOAPIC and timer back to what they are at power-on.
    ///
    /// - Parameter timer: as it was made: it stands still. One that ticked would interrupt a kernel that does not know
    ///   the PIC of this machine, and so has not told it a vector.
    func resetInterruptControllers(timer: PITState) throws(SystemError) {
        try setPIC(.primaryPIC, PICState().kernelState(levelMask: 0xF8))
        try setPIC(.secondaryPIC, PICState().kernelState(levelMask: 0xDE))
        try setIOAPIC(KVM::IOAPICState(address: MachineLayout.ioAPICAddress))
        try setTimer(timer.kernelState(clockOffset: 0))
    }
}

extension KVMVirtualCPU {
    func setInitialXCR0(_ value: UInt64) throws(MachineError) {
        do throws(SystemError) { try setXCRs(kvm_xcrs(extendedControlRegister0: value)) } catch {
            throw .initialXCR0(value, error)
        }
    }

    /// Sets the registers to what a kernel's entry point expects.
    func prepare(for entry: BootEntry) throws(SystemError) {
        var special = try getSpecialRegisters()
        var registers = kvm_regs()
        registers.rflags = 2
        special.gdt.base = BootPlace.descriptorTable
        special.gdt.limit = UInt16(SegmentDescriptor.table.count * 8 - 1)
        special.idt.base = 0
        special.idt.limit = 0
        let data = kvm_segment(descriptor: SegmentDescriptor.data, selector: SegmentDescriptor.dataSelector)
        (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data)
        special.tr = kvm_segment(descriptor: SegmentDescriptor.task, selector: SegmentDescriptor.taskSelector)
        switch entry {
        case .long(let address, let parameters):
            special.cs = kvm_segment(
                descriptor: SegmentDescriptor.code64, selector: SegmentDescriptor.code64Selector)
            special.cr0 = 0x8000_0031
            special.cr3 = BootPlace.pageTables
            special.cr4 = 0x20
            special.efer = 0x500
            registers.rip = address
            registers.rsi = parameters
        case .protected(let address, let startInfo):
            special.cs = kvm_segment(
                descriptor: SegmentDescriptor.code32, selector: SegmentDescriptor.code32Selector)
            special.cr0 = 0x31
            special.cr4 = 0
            special.efer = 0
            registers.rip = UInt64(address)
            registers.rbx = UInt64(startInfo)
        }
        try setSpecialRegisters(special)
        try setRegisters(registers)
    }
}

extension kvm_segment {
    /// What the processor keeps of a descriptor of the flat table that the loaders write.
    fileprivate init(descriptor: UInt64, selector: UInt16) {
        func bit(_ number: UInt64) -> UInt8 { UInt8(descriptor >> number & 1) }
        let limit = UInt32(descriptor & 0xFFFF | descriptor >> 32 & 0xF_0000)
        self.init(
            base: descriptor >> 16 & 0xFF_FFFF | descriptor >> 32 & 0xFF00_0000,
            limit: bit(55) == 1 ? limit << 12 | 0xFFF : limit, selector: selector,
            type: UInt8(descriptor >> 40 & 15), present: bit(47), dpl: UInt8(descriptor >> 45 & 3), db: bit(54),
            s: bit(44), l: bit(53), g: bit(55), avl: bit(52), unusable: 0, padding: 0)
    }
}
