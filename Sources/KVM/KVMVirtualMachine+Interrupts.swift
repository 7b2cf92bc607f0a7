public import CLinux
public import LinuxSystem

extension KVMVirtualMachine {
    /// Where an interrupt number (GSI) leads.
    public struct Route: Equatable, Sendable {
        /// The chips of the in-kernel controller.
        public enum Chip: UInt32, Sendable {
            case primaryPIC = 0
            case secondaryPIC = 1
            case ioAPIC = 2
        }
        public enum Target: Equatable, Sendable {
            case pin(Chip, UInt32)
            case message(address: UInt64, data: UInt32)
        }
        public let gsi: UInt32
        public let target: Target

        public init(gsi: UInt32, _ target: Target) {
            self.gsi = gsi
            self.target = target
        }
    }

    /// Makes the in-kernel PIC, IOAPIC and, for each virtual CPU made later, LAPIC.
    public func makeInterruptController() throws(SystemError) {
        _ = try check(
            clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_CREATE_IRQCHIP), 0), "KVM_CREATE_IRQCHIP")
    }

    /// Makes the in-kernel timer (i8254). `hasSpeakerPort`: port 0x61 is handled too.
    public func makeTimer(hasSpeakerPort: Bool = false) throws(SystemError) {
        var configuration = kvm_pit_config()
        configuration.flags = hasSpeakerPort ? 1 : 0
        try call(CLINUX_KVM_CREATE_PIT2, &configuration, "KVM_CREATE_PIT2")
    }

    /// Replaces the whole routing table.
    public func setRouting(_ routes: [Route]) throws(SystemError) {
        let entries = routes.map { route in
            var entry = kvm_irq_routing_entry()
            switch route.target {
            case .pin(let chip, let pin): clinux_kvm_chip_route(&entry, route.gsi, chip.rawValue, pin)
            case .message(let address, let data): clinux_kvm_msi_route(&entry, route.gsi, address, data)
            }
            return entry
        }
        _ = try check(
            clinux_kvm_set_routing(descriptor.number, entries, UInt32(entries.count)), "KVM_SET_GSI_ROUTING")
    }

    /// Raises or lowers an interrupt line.
    public func setInterruptLine(gsi: UInt32, isRaised: Bool) throws(SystemError) {
        var level = kvm_irq_level()
        level.irq = gsi
        level.level = isRaised ? 1 : 0
        try call(CLINUX_KVM_IRQ_LINE, &level, "KVM_IRQ_LINE \(gsi)")
    }

    /// Makes each notification of an event descriptor an edge of an interrupt.
    ///
    /// With `resample` the interrupt is a level: it stays raised until the guest acknowledges it, which notifies
    /// `resample`.
    public func attachInterrupt(gsi: UInt32, to event: borrowing EventDescriptor, resampledBy resample: Int32? = nil)
        throws(SystemError)
    {
        var request = kvm_irqfd()
        request.fd = UInt32(event.number)
        request.gsi = gsi
        if let resample {
            request.flags = UInt32(KVM_IRQFD_FLAG_RESAMPLE)
            request.resamplefd = UInt32(resample)
        }
        try call(CLINUX_KVM_IRQFD, &request, "KVM_IRQFD \(gsi)")
    }

    public func detachInterrupt(gsi: UInt32, from event: borrowing EventDescriptor) throws(SystemError) {
        var request = kvm_irqfd()
        request.fd = UInt32(event.number)
        request.gsi = gsi
        request.flags = UInt32(KVM_IRQFD_FLAG_DEASSIGN)
        try call(CLINUX_KVM_IRQFD, &request, "KVM_IRQFD \(gsi)")
    }

    /// Where the guest writes to notify a device.
    public enum NotifyAddress: Equatable, Sendable {
        case port(UInt16)
        case memory(UInt64)
    }

    /// Turns guest writes of `width` bytes to an address into notifications; with `value`, only writes of that value.
    public func attachNotify(
        _ address: NotifyAddress, width: Int, value: UInt64? = nil, to event: borrowing EventDescriptor
    ) throws(SystemError) {
        try setNotify(address, width, value, event.number, isAttached: true)
    }

    public func detachNotify(
        _ address: NotifyAddress, width: Int, value: UInt64? = nil, from event: borrowing EventDescriptor
    ) throws(SystemError) {
        try setNotify(address, width, value, event.number, isAttached: false)
    }

    private func setNotify(
        _ address: NotifyAddress, _ width: Int, _ value: UInt64?, _ number: Int32, isAttached: Bool
    ) throws(SystemError) {
        var request = kvm_ioeventfd()
        request.fd = number
        request.len = UInt32(width)
        if let value {
            request.datamatch = value
            request.flags |= 1  // KVM_IOEVENTFD_FLAG_DATAMATCH
        }
        switch address {
        case .port(let port):
            request.addr = UInt64(port)
            request.flags |= 2  // KVM_IOEVENTFD_FLAG_PIO
        case .memory(let place): request.addr = place
        }
        if !isAttached { request.flags |= 4 }  // KVM_IOEVENTFD_FLAG_DEASSIGN
        try call(CLINUX_KVM_IOEVENTFD, &request, "KVM_IOEVENTFD")
    }

    /// Sends a message-signalled interrupt; whether a guest CPU took it.
    @discardableResult public func signalMSI(address: UInt64, data: UInt32) throws(SystemError) -> Bool {
        var message = kvm_msi()
        message.address_lo = UInt32(truncatingIfNeeded: address)
        message.address_hi = UInt32(address >> 32)
        message.data = data
        let result = withUnsafeMutablePointer(to: &message) {
            clinux_kvm(descriptor.number, UInt(CLINUX_KVM_SIGNAL_MSI), UnsafeMutableRawPointer($0))
        }
        return try check(result, "KVM_SIGNAL_MSI") > 0
    }

    // MARK: State

    /// One of the two PICs.
    public func getPIC(_ chip: Route.Chip) throws(SystemError) -> kvm_pic_state {
        try getChip(chip).chip.pic
    }

    public func setPIC(_ chip: Route.Chip, _ state: kvm_pic_state) throws(SystemError) {
        var whole = kvm_irqchip()
        whole.chip_id = chip.rawValue
        whole.chip.pic = state
        try call(CLINUX_KVM_SET_IRQCHIP, &whole, "KVM_SET_IRQCHIP")
    }

    public func getIOAPIC() throws(SystemError) -> IOAPICState {
        IOAPICState(try getChip(.ioAPIC))
    }

    public func setIOAPIC(_ state: IOAPICState) throws(SystemError) {
        var whole = state.chip
        try call(CLINUX_KVM_SET_IRQCHIP, &whole, "KVM_SET_IRQCHIP")
    }

    public func getTimer() throws(SystemError) -> kvm_pit_state2 {
        var state = kvm_pit_state2()
        try call(CLINUX_KVM_GET_PIT2, &state, "KVM_GET_PIT2")
        return state
    }

    public func setTimer(_ state: kvm_pit_state2) throws(SystemError) {
        var state = state
        try call(CLINUX_KVM_SET_PIT2, &state, "KVM_SET_PIT2")
    }

    /// Whether timer ticks that the guest had no time for are delivered later (the kernel's default).
    public func setTimerReinjection(_ isOn: Bool) throws(SystemError) {
        var control = kvm_reinject_control()
        control.pit_reinject = isOn ? 1 : 0
        try call(CLINUX_KVM_REINJECT_CONTROL, &control, "KVM_REINJECT_CONTROL")
    }

    /// The clock of kvmclock: nanoseconds in `clock`, flags that tell how reliable it is.
    public func getClock() throws(SystemError) -> kvm_clock_data {
        var data = kvm_clock_data()
        try call(CLINUX_KVM_GET_CLOCK, &data, "KVM_GET_CLOCK")
        return data
    }

    /// Sets the clock to `nanoseconds`; it goes on from there at once.
    public func setClock(nanoseconds: UInt64) throws(SystemError) {
        var data = kvm_clock_data()
        data.clock = nanoseconds
        try call(CLINUX_KVM_SET_CLOCK, &data, "KVM_SET_CLOCK")
    }

    private func getChip(_ chip: Route.Chip) throws(SystemError) -> kvm_irqchip {
        var whole = kvm_irqchip()
        whole.chip_id = chip.rawValue
        try call(CLINUX_KVM_GET_IRQCHIP, &whole, "KVM_GET_IRQCHIP")
        return whole
    }
}
