/// One x86 processor: section `cpu`, version 12.
///
/// Values are those after reset of the bootstrap processor. What is 0 or has its default is not sent where QEMU does
/// not send it; what QEMU sends by the processor's features, whatever the value, is an optional here.
/// See QEMU target/i386/machine.c.
public struct CPUState: DeviceState, Equatable {
    public static let vmsdName = "cpu"
    public static let currentVersion = 12
    public static let minimumVersion = 11

    /// RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15.
    /// After reset RDX holds the processor's signature, which is the machine's choice.
    public var registers = [UInt64](repeating: 0, count: 16)
    public var instructionPointer: UInt64 = 0xFFF0
    public var flags: UInt64 = 2
    /// QEMU's digest of the mode, which software emulation needs right; KVM's user derives it from the registers.
    public var hiddenFlags: UInt32 = 0x40
    public var floatingPoint = CPUFloatingPoint()
    /// ES CS SS DS FS GS.
    public var segments: [CPUSegment] = [.resetData, .resetCode, .resetData, .resetData, .resetData, .resetData]
    public var ldt = CPUSegment(flags: 0x8200)
    public var taskRegister = CPUSegment(flags: 0x8B00)
    /// Base and limit only.
    public var gdt = CPUSegment()
    public var idt = CPUSegment()
    public var sysenterCS: UInt32 = 0
    public var sysenterESP: UInt64 = 0
    public var sysenterEIP: UInt64 = 0
    public var cr0: UInt64 = 0x6000_0010
    public var cr2: UInt64 = 0
    public var cr3: UInt64 = 0
    public var cr4: UInt64 = 0
    public var debugRegisters: [UInt64] = [0, 0, 0, 0, 0, 0, 0xFFFF_0FF0, 0x400]
    /// -1 with the A20 line open.
    public var a20Mask: Int32 = -1
    public var mxcsr: UInt32 = 0x1F80
    /// The low 128 bits of the first 16 vector registers.
    public var xmm = [CPUVector128](repeating: CPUVector128(), count: 16)
    public var efer: UInt64 = 0
    public var star: UInt64 = 0
    public var lstar: UInt64 = 0
    public var cstar: UInt64 = 0
    public var fmask: UInt64 = 0
    public var kernelGSBase: UInt64 = 0
    public var smbase: UInt32 = 0x30000
    public var pat: UInt64 = 0x0007_0406_0007_0406
    /// Bit 0 global interrupts, 2 NMI blocked, 8 virtual global interrupts.
    public var hiddenFlags2: UInt32 = 0x101
    public var svm = CPUSVM()
    public var mtrrFixed = [UInt64](repeating: 0, count: 11)
    public var mtrrDefaultType: UInt64 = 0
    public var mtrrVariable = [CPUVariableMTRR](repeating: CPUVariableMTRR(), count: 8)
    /// The vector that is being injected; -1 for none.
    public var injectedInterrupt: Int32 = -1
    /// KVM's KVM_MP_STATE_*: 0 runnable, 1 uninitialized, 2 INIT received, 3 halted, 4 SIPI received.
    public var multiprocessorState: UInt32 = 0
    /// The guest's time stamp counter when it stopped.
    public var timeStampCounter: UInt64 = 0
    /// -1 for none.
    public var exceptionNumber: Int32 = -1
    public var softInterrupt: UInt8 = 0
    public var nmiInjected: UInt8 = 0
    public var nmiPending: UInt8 = 0
    public var hasErrorCode: UInt8 = 0
    public var startupVector: UInt32 = 0
    public var machineCheck = CPUMachineCheck()
    public var tscAux: UInt64 = 0
    public var systemTimeMSR: UInt64 = 0
    public var wallClockMSR: UInt64 = 0
    public var xcr0: UInt64 = 1
    /// The parts of the XSAVE area that are not in their initial state.
    public var xstateBV: UInt64 = 0
    /// Bits 128 to 255 of the first 16 vector registers.
    public var ymmHigh = [CPUVectorHigh128](repeating: CPUVectorHigh128(), count: 16)
    /// What has a subsection of its own.
    public var extra = CPUExtraState()

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try transferRegisters(&coder)
        try transferControl(&coder)
        try transferEvents(&coder)
        if coder.version >= 12 {
            try coder.field("env.xcr0", &xcr0)
            try coder.field("env.xstate_bv", &xstateBV)
            try coder.structures("env.xmm_regs[1]", &ymmHigh)
        }
        if coder.direction == .load { extra.resetForLoading() }
        let isGuestNested = hiddenFlags & 1 << 21 != 0
        let hasNestedPaging = hiddenFlags2 & 1 << 6 != 0
        try coder.subsections { coder throws(StateError) in
            try extra.transferEvents(&coder, isGuestNested: isGuestNested)
            try extra.transferParavirtual(&coder)
            try extra.transferBasic(&coder)
            try extra.transferHyperV(&coder)
            try extra.transferVectors(&coder)
            try extra.transferFeatures(&coder)
            try extra.transferNested(&coder, hasNestedPaging: hasNestedPaging)
            try extra.transferLater(&coder)
        }
    }

    private mutating func transferRegisters(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("env.regs", &registers, count: 16)
        try coder.field("env.eip", &instructionPointer)
        try coder.field("env.eflags", &flags)
        try coder.field("env.hflags", &hiddenFlags)
        try floatingPoint.transfer(&coder)
        try coder.structures("env.segs", &segments)
        try coder.structure("env.ldt", &ldt)
        try coder.structure("env.tr", &taskRegister)
        try coder.structure("env.gdt", &gdt)
        try coder.structure("env.idt", &idt)
        try coder.field("env.sysenter_cs", &sysenterCS)
        try coder.field("env.sysenter_esp", &sysenterESP)
        try coder.field("env.sysenter_eip", &sysenterEIP)
        try coder.field("env.cr[0]", &cr0)
        try coder.field("env.cr[2]", &cr2)
        try coder.field("env.cr[3]", &cr3)
        try coder.field("env.cr[4]", &cr4)
        try coder.field("env.dr", &debugRegisters, count: 8)
    }

    private mutating func transferControl(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("env.a20_mask", &a20Mask)
        try coder.field("env.mxcsr", &mxcsr)
        try coder.structures("env.xmm_regs[0]", &xmm)
        try coder.field("env.efer", &efer)
        try coder.field("env.star", &star)
        try coder.field("env.lstar", &lstar)
        try coder.field("env.cstar", &cstar)
        try coder.field("env.fmask", &fmask)
        try coder.field("env.kernelgsbase", &kernelGSBase)
        try coder.field("env.smbase", &smbase)
        try coder.field("env.pat", &pat)
        try coder.field("env.hflags2", &hiddenFlags2)
        try svm.transfer(&coder)
        try coder.field("env.mtrr_fixed", &mtrrFixed, count: 11)
        try coder.field("env.mtrr_deftype", &mtrrDefaultType)
        try coder.structures("env.mtrr_var", &mtrrVariable)
    }

    private mutating func transferEvents(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("env.interrupt_injected", &injectedInterrupt)
        try coder.field("env.mp_state", &multiprocessorState)
        try coder.field("env.tsc", &timeStampCounter)
        try coder.field("env.exception_nr", &exceptionNumber)
        try coder.field("env.soft_interrupt", &softInterrupt)
        try coder.field("env.nmi_injected", &nmiInjected)
        try coder.field("env.nmi_pending", &nmiPending)
        try coder.field("env.has_error_code", &hasErrorCode)
        try coder.field("env.sipi_vector", &startupVector)
        try coder.field("env.mcg_cap", &machineCheck.capabilities)
        try coder.field("env.mcg_status", &machineCheck.status)
        try coder.field("env.mcg_ctl", &machineCheck.control)
        try coder.field("env.mce_banks", &machineCheck.banks, count: 40)
        try coder.field("env.tsc_aux", &tscAux)
        try coder.field("env.system_time_msr", &systemTimeMSR)
        try coder.field("env.wall_clock_msr", &wallClockMSR)
    }
}
