public import CLinux
public import KVM

extension BareMachine {
    /// Everything KVM knows of a virtual CPU.
    public struct CPUState {
        public var registers: kvm_regs
        public var special: kvm_sregs
        public var special2: kvm_sregs2
        public var xsave: [UInt8]
        public var xcrs: kvm_xcrs
        public var debug: kvm_debugregs
        public var msrs: [ModelSpecificRegister]
        public var localAPIC: LocalAPICState
        public var events: kvm_vcpu_events
        public var multiprocessorState: UInt32
        public var tscFrequency: Int
    }

    /// Everything but the memory.
    public struct MachineState {
        public var cpus: [CPUState]
        public var pics: [kvm_pic_state]
        public var ioAPIC: IOAPICState
        public var timer: kvm_pit_state2
        public var clock: UInt64
    }

    /// Takes the state of a paused machine.
    public func saveState() throws -> MachineState {
        let indices = try machine.system.msrIndices()
        let clock = try machine.getClock().clock
        let states = try cpus.map { cpu in
            CPUState(
                registers: try cpu.getRegisters(), special: try cpu.getSpecialRegisters(),
                special2: try cpu.getSpecialRegisters2(), xsave: try cpu.getXSave(), xcrs: try cpu.getXCRs(),
                debug: try cpu.getDebugRegisters(), msrs: try cpu.getMSRs(indices).registers,
                localAPIC: try cpu.getLocalAPIC(), events: try cpu.getEvents(),
                multiprocessorState: try cpu.getMultiprocessorState(), tscFrequency: try cpu.getTSCFrequency())
        }
        return MachineState(
            cpus: states, pics: [try machine.getPIC(.primaryPIC), try machine.getPIC(.secondaryPIC)],
            ioAPIC: try machine.getIOAPIC(), timer: try machine.getTimer(), clock: clock)
    }

    /// Gives a new machine with as many virtual CPUs a state; the registers that the kernel refused.
    @discardableResult public func load(_ state: MachineState) throws -> [ModelSpecificRegister] {
        precondition(state.cpus.count == cpus.count, "\(state.cpus.count) CPUs for \(cpus.count)")
        var refused: [ModelSpecificRegister] = []
        try machine.setPIC(.primaryPIC, state.pics[0])
        try machine.setPIC(.secondaryPIC, state.pics[1])
        try machine.setIOAPIC(state.ioAPIC)
        try machine.setTimer(state.timer)
        try machine.setClock(nanoseconds: state.clock)
        for (cpu, saved) in zip(cpus, state.cpus) {
            try cpu.setSpecialRegisters2(saved.special2)
            try cpu.setSpecialRegisters(saved.special)
            try cpu.setXCRs(saved.xcrs)
            try cpu.setXSave(saved.xsave)
            try cpu.setRegisters(saved.registers)
            try cpu.setDebugRegisters(saved.debug)
            refused += try cpu.setMSRs(saved.msrs)
            try cpu.setLocalAPIC(saved.localAPIC)
            try cpu.setEvents(saved.events)
            try cpu.setMultiprocessorState(saved.multiprocessorState)
        }
        return refused
    }
}
