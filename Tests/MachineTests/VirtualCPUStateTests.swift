import CLinux
import KVM
import LinuxSystem
import MigrationStream
import Testing

@testable import Machine

/// A virtual machine with one virtual CPU and no memory.
private struct BareMachine {
    let machine: KVMVirtualMachine
    let cpu: KVMVirtualCPU
    let layout: XSaveLayout

    /// - Parameter index: of the virtual CPU, and so its APIC's id.
    init(index: Int = 0) throws {
        let system = try KVMSystem()
        machine = try system.makeVirtualMachine()
        try machine.setTSSAddress(0xFFFB_D000)
        try machine.makeInterruptController()
        try machine.makeTimer()
        cpu = try machine.makeVirtualCPU(index: index)
        let cpuid = try system.supportedCPUID()
        try cpu.setCPUID(cpuid)
        layout = XSaveLayout(cpuid: cpuid)
    }

    /// Puts something into everything that a guest in 64-bit mode uses.
    func fill() throws {
        var registers = try cpu.getRegisters()
        registers.rax = 0x1111_2222_3333_4444
        registers.rbx = 3
        registers.rsi = 6
        registers.rsp = 0xFFFF_8000_0000_1000
        registers.r15 = .max
        registers.rip = 0x10_0000
        registers.rflags = 0x246
        var special = try cpu.getSpecialRegisters()
        special.cr0 = 0x8005_0033
        special.cr3 = 0x2000
        special.cr4 = 0x406A0
        special.efer = 0xD01
        special.cs = kvm_segment(
            base: 0, limit: 0xFFFF_FFFF, selector: 0x10, type: 11, present: 1, dpl: 0, db: 0, s: 1, l: 1, g: 1, avl: 0,
            unusable: 0, padding: 0)
        special.gdt.base = 0xFFFF_FE00_0000_1000
        special.gdt.limit = 0x7F
        try cpu.setSpecialRegisters(special)
        try cpu.setRegisters(registers)
        var area = try cpu.getXSave()
        area.store(UInt64(0b111), at: XSaveLayout.stateBits)
        area.store(UInt16(0x27F), at: XSaveLayout.controlWord)
        area.store(UInt64(0xDEAD_BEEF_0000_0001), at: XSaveLayout.xmmRegisters + 16 * 15)
        if let avx = layout.offset(of: .avx, in: area.count) { area.store(UInt64(0xABCD), at: avx + 16 * 7 + 8) }
        try cpu.setXSave(area)
        try cpu.setXCRs(kvm_xcrs(extendedControlRegister0: 7))
        _ = try cpu.setMSRs([
            ModelSpecificRegister(0xC000_0082, 0xFFFF_FFFF_8100_0000), ModelSpecificRegister(0xC000_0102, 0x1234_5000),
            ModelSpecificRegister(0x277, 0x0407_0106_0007_0406), ModelSpecificRegister(0x174, 0x10),
        ])
        var apic = try cpu.getLocalAPIC()
        apic[0xF0] = 0x1FF
        apic[0x80] = 0x20
        apic[0x320] = 0x200EC
        apic[0x380] = 1_000_000
        apic[0x3E0] = 0xB
        try cpu.setLocalAPIC(apic)
    }
}

@Suite("Virtual CPU state", .enabled(if: (try? KVMSystem()) != nil, "no usable /dev/kvm"))
struct VirtualCPUStateTests {
    @Test func `moves to another virtual CPU by way of the stream's bytes`() throws {
        let source = try BareMachine()
        try source.fill()
        let saved = try VirtualCPUState(saving: source.cpu, layout: source.layout, virtualClock: 5_000_000_000)
        #expect(saved.cpu.registers[0] == 0x1111_2222_3333_4444)
        #expect(saved.cpu.xmm[15].low == 0xDEAD_BEEF_0000_0001)
        #expect(saved.cpu.lstar == 0xFFFF_FFFF_8100_0000)
        #expect(saved.cpu.hiddenFlags & (1 << 14 | 1 << 15) == 1 << 14 | 1 << 15)

        var loaded = VirtualCPUState()
        try loaded.cpu.load(saved.cpu.encoded(), version: CPUState.currentVersion)
        try loaded.apic.load(saved.apic.encoded(), version: MigrationStream::LocalAPICState.currentVersion)
        let destination = try BareMachine()
        try VirtualCPUState.load(
            [loaded], into: [destination.cpu], layout: destination.layout, virtualClock: 5_000_000_000)
        var again = try VirtualCPUState(
            saving: destination.cpu, layout: destination.layout, virtualClock: 5_000_000_000)

        #expect(again.cpu.timeStampCounter > saved.cpu.timeStampCounter)
        again.cpu.timeStampCounter = saved.cpu.timeStampCounter
        again.cpu.extra.tscAdjust = saved.cpu.extra.tscAdjust
        #expect(again.cpu == saved.cpu)
        #expect(again.apic.interruptRequest == saved.apic.interruptRequest)
        #expect(again.apic.initialCount == 1_000_000)
        #expect(again.apic.localVectors == saved.apic.localVectors)
        #expect(again.apic.taskPriority == 0x20)
    }

    // A guest of two processors in x2APIC mode lost every interrupt from one to the other when it was moved.
    @Test(arguments: [0xFEE0_0800, 0xFEE0_0C00] as [UInt64])
    func `keeps the APIC's id, in xAPIC and in x2APIC mode`(base: UInt64) throws {
        let source = try BareMachine(index: 3)
        var special = try source.cpu.getSpecialRegisters()
        special.apic_base = base
        try source.cpu.setSpecialRegisters(special)
        let saved = try VirtualCPUState(saving: source.cpu, layout: source.layout, virtualClock: 0)
        #expect(saved.apic.id == 3)
        let destination = try BareMachine(index: 3)
        try VirtualCPUState.load([saved], into: [destination.cpu], layout: destination.layout, virtualClock: 0)
        #expect(try destination.cpu.getLocalAPIC()[0x20] == 3 << 24)
    }

    // A Linux guest that came from a QEMU fell silent: its timer waited for a time stamp at which nobody looked.
    @Test func `a timer that waits for a time stamp waits for it in a machine as ours are`() throws {
        let system = try KVMSystem()
        let machine = try BareMachine()
        try machine.cpu.setCPUID(
            GuestCPUID.entries(
                supported: system.supportedCPUID(), index: 0, count: 1,
                hasDeadlineTimer: system.value(of: .tscDeadlineTimer) != 0))
        var state = try VirtualCPUState(saving: machine.cpu, layout: machine.layout, virtualClock: 0)
        state.apic.spuriousVector = 0x1FF
        state.apic.localVectors[0] = 0x400EC  // counts to a deadline
        state.cpu.extra.tscDeadline = state.cpu.timeStampCounter + 1 << 50
        try VirtualCPUState.load([state], into: [machine.cpu], layout: machine.layout, virtualClock: 0)
        let again = try VirtualCPUState(saving: machine.cpu, layout: machine.layout, virtualClock: 0)
        #expect(again.cpu.extra.tscDeadline == state.cpu.extra.tscDeadline)
        #expect(again.apic.localVectors[0] == 0x400EC)
    }

    @Test func `names the MSR that this host refuses`() throws {
        let machine = try BareMachine()
        var state = try VirtualCPUState(saving: machine.cpu, layout: machine.layout, virtualClock: 0)
        state.cpu.kernelGSBase = 0x8000_0000_0000_0000  // not canonical: no kernel takes it
        #expect(throws: MachineStateError.refusedMSR(cpu: 0, index: 0xC000_0102, value: 0x8000_0000_0000_0000)) {
            try VirtualCPUState.load([state], into: [machine.cpu], layout: machine.layout, virtualClock: 0)
        }
    }
}

@Suite("Time stamp counters") struct TimeStampCounterTests {
    @Test func `that ran together get one value, the latest that was read`() {
        let counters = TimeStampCounters(
            saved: [5_000_000_000, 5_000_100_000, 5_000_050_000], frequency: 1_000_000_000)
        #expect(counters.values == [5_000_100_000, 5_000_100_000, 5_000_100_000])
    }

    @Test func `that the guest set apart stay apart`() {
        let counters = TimeStampCounters(saved: [5_000_000_000, 7_000_000_000], frequency: 1_000_000_000)
        #expect(counters.values == [5_000_000_000, 7_000_000_000])
    }
}

@Suite("Interrupt controller state") struct InterruptControllerStateTests {
    @Test func `a periodic timer goes on where it stopped`() {
        var kernel = KVM::LocalAPICState()
        kernel[0x320] = 0x20000 | 0xEC
        kernel[0x380] = 1000
        kernel[0x390] = 400
        kernel[0x3E0] = 0b1011  // divide by 1
        let state = MigrationStream::LocalAPICState(
            kernel, base: 0xFEE0_0900, multiprocessorState: 0, virtualClock: 10_000)
        #expect(state.initialCountLoadTime == 9_400)
        #expect(state.kernelState(virtualClock: 10_000)[0x390] == 400)
        #expect(state.kernelState(virtualClock: 10_500)[0x390] == 900)
    }

    @Test func `a timer that is over does not start again`() {
        var kernel = KVM::LocalAPICState()
        kernel[0x380] = 1000
        kernel[0x3E0] = 0b1011
        let state = MigrationStream::LocalAPICState(
            kernel, base: 0xFEE0_0900, multiprocessorState: 0, virtualClock: 10_000)
        #expect(state.timerExpiry == -1)
        #expect(state.kernelState(virtualClock: 10_000)[0x390] == 0)
    }

    @Test func `the divided clock is told by its shift`() {
        var kernel = KVM::LocalAPICState()
        kernel[0x3E0] = 0b0011  // divide by 16
        #expect(
            MigrationStream::LocalAPICState(kernel, base: 0, multiprocessorState: 0, virtualClock: 0).countShift == 4)
    }

    @Test func `the interval timer's load time is told in the guest's clock`() {
        var kernel = kvm_pit_state2()
        kernel.channels.0.count = 11932
        kernel.channels.0.count_load_time = 7_000
        let state = PITState(kernel, clockOffset: -2_000, virtualClock: 0)
        #expect(state.channels[0].countLoadTime == 5_000)
        #expect(state.kernelState(clockOffset: 1_000).channels.0.count_load_time == 4_000)
    }

    /// Counts of 1193 ticks last 999.847 microseconds.
    @Test(
        arguments: [
            (2, 0, 1_000_685), (2, 1_500_000, 2_000_533), (3, 0, 500_342), (3, 600_000, 999_847), (0, 0, 999_847),
            (0, 2_000_000, -1), (4, 999_900, 1_000_685), (5, 2_000_000, -1),
        ] as [(UInt8, Int64, Int64)])
    func `the interval timer's next transition is told`(mode: UInt8, now: Int64, next: Int64) {
        var kernel = kvm_pit_state2()
        kernel.channels.0.count = 1193
        kernel.channels.0.mode = mode
        let state = PITState(kernel, clockOffset: 0, virtualClock: now)
        #expect(state.nextTransitionTime == next)
    }
}
