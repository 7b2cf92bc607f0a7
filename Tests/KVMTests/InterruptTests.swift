import CLinux
import KVM
import LinuxSystem
import Testing

extension KVMTests {
    @Suite("Interrupts and clocks") struct InterruptTests {
        /// A machine with one virtual CPU that never runs, its LAPIC switched on.
        private func machine() throws -> (machine: KVMVirtualMachine, cpu: KVMVirtualCPU) {
            let machine = try KVMSystem().makeVirtualMachine()
            try machine.setIdentityMapAddress(0xFFFB_C000)
            try machine.setTSSAddress(0xFFFB_D000)
            try machine.makeInterruptController()
            let cpu = try machine.makeVirtualCPU(index: 0)
            var apic = try cpu.getLocalAPIC()
            apic[0xF0] = 0x1FF
            try cpu.setLocalAPIC(apic)
            return (machine, cpu)
        }

        /// The vectors that wait in the LAPIC.
        private func pending(_ cpu: KVMVirtualCPU) throws -> [Int] {
            let apic = try cpu.getLocalAPIC()
            return (0..<256).filter { apic[0x200 + $0 / 32 * 16] >> ($0 % 32) & 1 == 1 }
        }

        /// Waits until a vector has come: irqfds deliver from a kernel thread.
        private func wait(for vector: Int, _ cpu: KVMVirtualCPU) throws -> Bool {
            let end = ContinuousClock.now + .seconds(5)
            while ContinuousClock.now < end { if try pending(cpu).contains(vector) { return true } }
            return false
        }

        @Test func `an event descriptor raises the message that its number is routed to`() throws {
            let (machine, cpu) = try machine()
            try machine.setRouting([.init(gsi: 24, .message(address: 0xFEE0_0000, data: 0x51))])
            let event = try EventDescriptor()
            try machine.attachInterrupt(gsi: 24, to: event)
            event.notify()
            #expect(try wait(for: 0x51, cpu))
            #expect(try pending(cpu) == [0x51])
            try machine.detachInterrupt(gsi: 24, from: event)
        }

        @Test func `a message is delivered at once`() throws {
            let (machine, cpu) = try machine()
            #expect(try machine.signalMSI(address: 0xFEE0_0000, data: 0x62))
            #expect(try pending(cpu) == [0x62])
        }

        @Test func `a line goes through the IOAPIC's redirection`() throws {
            let (machine, cpu) = try machine()
            var state = IOAPICState()
            state.redirections[4] = 0x73  // edge, fixed, to APIC 0, not masked
            try machine.setIOAPIC(state)
            try machine.setInterruptLine(gsi: 4, isRaised: true)
            #expect(try pending(cpu) == [0x73])
            try machine.setInterruptLine(gsi: 4, isRaised: false)
        }

        @Test func `the IOAPIC comes back as it was set, pin by pin`() throws {
            let (machine, _) = try machine()
            var state = IOAPICState()
            state.id = 3
            state.selectedRegister = 0x10
            for pin in 0..<24 { state.redirections[pin] = UInt64(pin) << 56 | 0x10000 | UInt64(0x40 + pin) }
            try machine.setIOAPIC(state)
            #expect(try machine.getIOAPIC() == state)
        }

        @Test func `the clock goes on from where it was set`() throws {
            let (machine, _) = try machine()
            try machine.setClock(nanoseconds: 5_000_000_000_000)
            let clock = try machine.getClock().clock
            #expect(clock >= 5_000_000_000_000 && clock < 5_060_000_000_000)
        }

        @Test func `a register that does not exist is named and does not hide the others`() throws {
            let (_, cpu) = try machine()
            let read = try cpu.getMSRs([0x174, 0xDEAD, 0x175])
            #expect(read.registers.map(\.index) == [0x174, 0x175])
            #expect(read.refused == [0xDEAD])
            let refused = try cpu.setMSRs([.init(0x174, 8), .init(0xDEAD, 1), .init(0x175, 0x1234)])
            #expect(refused == [.init(0xDEAD, 1)])
            #expect(try cpu.getMSRs([0x175]).registers == [.init(0x175, 0x1234)])
        }

        @Test func `a virtual CPU without nested virtualisation has an empty nested state or its header`() throws {
            let (_, cpu) = try machine()
            let state = try cpu.getNestedState()
            #expect(state.isEmpty || state.count >= 128)
        }
    }
}
