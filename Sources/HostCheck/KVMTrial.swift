internal import CLinux
internal import KVM
internal import LinuxSystem

/// A virtual machine of two pages that runs a loop and one SSE instruction at level 0.
///
/// Hardware runs the loop in microseconds. A KVM that emulates guest kernel code takes tens of milliseconds for it and has no
/// SSE arithmetic; Linux uses both from its first moments.
struct KVMTrial {
    /// Of the loop, the best of up to three runs.
    let instructionsPerSecond: Int
    let hasVectorInstructions: Bool

    /// Whether a kernel could run. Emulation reaches about 2 million a second; a software CPU inside another machine
    /// some tens.
    var runsKernelCode: Bool { hasVectorInstructions && instructionsPerSecond >= Self.kernelSpeed }

    private static let kernelSpeed = 10_000_000

    private static let loopCount: UInt32 = 30_000

    init(_ system: KVMSystem) throws(SystemError) {
        let loop: [UInt8] =
            [0xB9] + withUnsafeBytes(of: Self.loopCount.littleEndian) { Array($0) }  // mov ecx, loopCount
            + [0x49, 0x75, 0xFD]  // dec ecx; jnz -3
        var time = Duration.zero
        hasVectorInstructions = try Self.run([0x66, 0x0F, 0xD4, 0xC1], on: system, taking: &time)  // paddq
        var best = 0
        // Again only where a busy host may have been in the way.
        for _ in 0..<(hasVectorInstructions ? 3 : 1) where best < Self.kernelSpeed {
            let isDone = try Self.run(loop, on: system, taking: &time)
            guard isDone else { throw SystemError(call: "KVM_RUN", subject: "a loop of two instructions", number: 5) }
            best = max(best, Int(Self.loopCount) * 2_000_000 / max(1, Int(time / .microseconds(1))))
        }
        instructionsPerSecond = best
    }

    /// Runs 32-bit code up to a write to port 0xF4 that is put behind it; whether it came there.
    private static func run(_ code: [UInt8], on system: KVMSystem, taking time: inout Duration) throws(SystemError)
        -> Bool
    {
        let machine = try system.makeVirtualMachine()
        let memory = try MemoryMapping(.anonymousSmallPages, byteCount: 8192)
        try machine.setIdentityMapAddress(0xFFFB_C000)
        try machine.setTSSAddress(0xFFFB_D000)
        try machine.setMemorySlot(0, guestAddress: 0, hostAddress: memory.baseAddress, byteCount: memory.byteCount)
        memory.bytes.copyBytes(from: code + [0xE6, 0xF4, 0xF4])  // out 0xF4, al; hlt
        let cpu = try machine.makeVirtualCPU(index: 0)
        try cpu.setCPUID(try system.supportedCPUID())
        var special = try cpu.getSpecialRegisters()
        var segment = special.cs
        segment.base = 0
        segment.limit = 0xFFFF_FFFF
        segment.db = 1
        segment.g = 1
        segment.selector = 8
        segment.type = 11
        special.cs = segment
        segment.selector = 16
        segment.type = 3
        special.ds = segment
        special.es = segment
        special.ss = segment
        special.cr0 = 0x11
        special.cr4 |= 0x600  // OSFXSR, OSXMMEXCPT
        try cpu.setSpecialRegisters(special)
        var registers = try cpu.getRegisters()
        registers.rip = 0
        registers.rflags = 2
        try cpu.setRegisters(registers)
        let start = ContinuousClock.now
        while true {
            switch try cpu.run() {
            case .portWrite(let port, _, _):
                time = ContinuousClock.now - start
                return port == 0xF4
            case .interrupted: continue
            default: return false
            }
        }
    }
}
