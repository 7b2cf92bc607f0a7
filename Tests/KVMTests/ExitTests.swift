import CLinux
import KVM
import LinuxSystem
import Testing

extension KVMTests {
    @Suite("Exits") struct ExitTests {
        @Test func `a port write shows port, width and bytes`() throws {
            // mov eax, 0x11223344; mov dx, 0x510; out dx, eax
            let code = try SmallCode([0xB8, 0x44, 0x33, 0x22, 0x11, 0x66, 0xBA, 0x10, 0x05, 0xEF])
            #expect(try code.step() == .portWrite(0x510, width: 4, [0x44, 0x33, 0x22, 0x11]))
        }

        @Test func `a string write brings several values at once, none twice`() throws {
            // mov esi, 0x100; mov ecx, 5; mov dx, 0x3F8; rep outsb; out 0x80, al
            let code = try SmallCode([
                0xBE, 0, 1, 0, 0, 0xB9, 5, 0, 0, 0, 0x66, 0xBA, 0xF8, 0x03, 0xF3, 0x6E, 0xE6, 0x80,
            ])
            code.memory.bytes[0x100..<0x105].copyBytes(from: Array("swift".utf8))
            var text: [UInt8] = []
            while case .portWrite(0x3F8, width: 1, let bytes) = try code.step() { text += bytes }
            #expect(String(decoding: text, as: UTF8.self) == "swift")
        }

        @Test func `a port read gives the guest what was filled in`() throws {
            // in al, 0x71; out 0x80, al
            let code = try SmallCode([0xE4, 0x71, 0xE6, 0x80])
            #expect(try code.step(answering: [0x5A]) == .portRead(0x71, width: 1, count: 1))
            #expect(try code.step() == .portWrite(0x80, width: 1, [0x5A]))
        }

        @Test func `completing an exit finishes the instruction and runs no further one`() throws {
            // in al, 0x71; mov bl, al; out 0x80, al
            let code = try SmallCode([0xE4, 0x71, 0x88, 0xC3, 0xE6, 0x80])
            #expect(try code.step(answering: [0x77]) == .portRead(0x71, width: 1, count: 1))
            try code.cpu.completeExit()
            let registers = try code.cpu.getRegisters()
            #expect(registers.rip == 2)
            #expect(registers.rax & 0xFF == 0x77)
            #expect(registers.rbx & 0xFF == 0)
            #expect(!code.cpu.isExitRequested)
        }

        @Test func `memory in no slot is read and written through the monitor`() throws {
            // mov eax, [0xF0000000]; mov [0xF0000004], ax
            let code = try SmallCode([0xA1, 0, 0, 0, 0xF0, 0x66, 0xA3, 4, 0, 0, 0xF0])
            #expect(try code.step(answering: [0xFE, 0xCA]) == .memoryRead(0xF000_0000, count: 4))
            #expect(try code.step() == .memoryWrite(0xF000_0004, [0xFE, 0xCA]))
        }

        @Test func `a write to a read-only slot reaches the monitor and not the memory`() throws {
            // mov byte [0x10000], 7
            let code = try SmallCode([0xC6, 0x05, 0, 0, 1, 0, 7])
            let constant = try MemoryMapping(.anonymousSmallPages, byteCount: 4096)
            try code.machine.setMemorySlot(
                1, guestAddress: 0x1_0000, hostAddress: constant.baseAddress, byteCount: 4096, flags: .isReadOnly)
            let exit = try code.step()
            let first = constant.bytes[0]
            try code.machine.removeMemorySlot(1)
            #expect(exit == .memoryWrite(0x1_0000, [7]))
            #expect(first == 0)
        }

        @Test func `halting without an interrupt controller is an exit`() throws {
            #expect(try SmallCode([0xF4]).step() == .halted)
        }

        @Test func `a notification takes a write away from the monitor, for its value only`() throws {
            // mov al, 1; out 0x90, al; mov al, 2; out 0x90, al; out 0x80, al
            let code = try SmallCode([0xB0, 1, 0xE6, 0x90, 0xB0, 2, 0xE6, 0x90, 0xE6, 0x80])
            let event = try EventDescriptor()
            try code.machine.attachNotify(.port(0x90), width: 1, value: 2, to: event)
            let exits = try [code.step(), code.step()]
            let count = event.drain()
            try code.machine.detachNotify(.port(0x90), width: 1, value: 2, from: event)
            #expect(exits == [.portWrite(0x90, width: 1, [1]), .portWrite(0x80, width: 1, [2])])
            #expect(count == 1)
        }

        @Test func `a notification takes writes to memory as well`() throws {
            // mov [0xF0001000], eax; mov [0xF0001000], eax; hlt
            let store: [UInt8] = [0xA3, 0, 0x10, 0, 0xF0]
            let code = try SmallCode(store + store + [0xF4])
            let event = try EventDescriptor()
            try code.machine.attachNotify(.memory(0xF000_1000), width: 4, to: event)
            let exit = try code.step()
            let count = event.drain()
            #expect(exit == .halted)
            #expect(count == 2)
        }
    }
}
