import CLinux
import KVM
import LinuxSystem

/// A machine of 32-bit code at address 0, flat, level 0, without interrupts; the code ends with `hlt` or a port.
final class SmallCode {
    let machine: KVMVirtualMachine
    let cpu: KVMVirtualCPU
    let memory: MemoryMapping

    init(_ code: [UInt8], registers change: (inout kvm_regs) -> Void = { _ in }) throws {
        let system = try KVMSystem()
        machine = try system.makeVirtualMachine()
        memory = try MemoryMapping(.anonymousSmallPages, byteCount: 16384)
        try machine.setIdentityMapAddress(0xFFFB_C000)
        try machine.setTSSAddress(0xFFFB_D000)
        try machine.setMemorySlot(0, guestAddress: 0, hostAddress: memory.baseAddress, byteCount: memory.byteCount)
        memory.bytes.copyBytes(from: code)
        cpu = try machine.makeVirtualCPU(index: 0)
        try cpu.setCPUID(try system.supportedCPUID())
        var special = try cpu.getSpecialRegisters()
        special.cs.base = 0
        special.cs.limit = 0xFFFF_FFFF
        special.cs.db = 1
        special.cs.g = 1
        special.cs.selector = 8
        special.cs.type = 11
        special.ds = special.cs
        special.ds.selector = 16
        special.ds.type = 3
        special.es = special.ds
        special.ss = special.ds
        special.cr0 = 0x11
        try cpu.setSpecialRegisters(special)
        var registers = try cpu.getRegisters()
        registers.rip = 0
        registers.rflags = 2
        change(&registers)
        try cpu.setRegisters(registers)
    }
}

/// An exit with its bytes copied out, to be compared.
enum SeenExit: Equatable {
    case portRead(UInt16, width: Int, count: Int)
    case portWrite(UInt16, width: Int, [UInt8])
    case memoryRead(UInt64, count: Int)
    case memoryWrite(UInt64, [UInt8])
    case halted
    case interrupted
    case other
}

extension SmallCode {
    /// Runs to the next exit; a read is answered with `answer`, and zeros behind it.
    func step(answering answer: [UInt8] = []) throws -> SeenExit {
        let cpu = cpu
        switch try cpu.run() {
        case .portRead(let port, let width, var bytes):
            for index in 0..<bytes.byteCount {
                bytes.storeBytes(of: index < answer.count ? answer[index] : 0, toByteOffset: index, as: UInt8.self)
            }
            return .portRead(port, width: width, count: bytes.byteCount)
        case .memoryRead(let address, var bytes):
            for index in 0..<bytes.byteCount {
                bytes.storeBytes(of: index < answer.count ? answer[index] : 0, toByteOffset: index, as: UInt8.self)
            }
            return .memoryRead(address, count: bytes.byteCount)
        case .portWrite(let port, let width, let bytes): return .portWrite(port, width: width, copy(bytes))
        case .memoryWrite(let address, let bytes): return .memoryWrite(address, copy(bytes))
        case .halted: return .halted
        case .interrupted: return .interrupted
        default: return .other
        }
    }

    private func copy(_ bytes: RawSpan) -> [UInt8] {
        (0..<bytes.byteCount).map { bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
    }
}
