import BuiltInGuest
import CLinux
import GuestSupport
import KVM
import Testing

/// The bytes of a kernel structure, to compare those that Swift knows no equality for.
private func bytes(_ value: some Any) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

/// Saves the state of `machine` and gives it, with a copy of the memory, to a new one.
private func moved(_ machine: BareMachine, _ configuration: BareMachine.Configuration) throws -> BareMachine {
    machine.pause()
    let state = try machine.saveState()
    let copy = try BareMachine(configuration)
    copy.memory.bytes.copyMemory(from: UnsafeRawBufferPointer(machine.memory.bytes))
    let refused = try copy.load(state)
    #expect(refused == [], "the kernel takes every register that it gave")
    return copy
}

extension KVMTests {
    @Suite("Virtual machine state") struct StateTests {
        @Test func `saved and loaded into a new machine it is the same, group by group`() throws {
            var configuration = BareMachine.Configuration()
            configuration.cpuCount = 2
            let machine = try BareMachine(configuration)
            try machine.boot(lively { $0.cpuCount = 2 })
            try machine.resume()
            try #require(machine.lines.waitForReport() != nil, "\(machine.lines.all)")
            let copy = try moved(machine, configuration)
            let saved = try machine.saveState()
            let loaded = try copy.saveState()
            for (one, other) in zip(saved.cpus, loaded.cpus) {
                #expect(bytes(one.registers) == bytes(other.registers))
                #expect(bytes(one.special) == bytes(other.special))
                #expect(one.xsave == other.xsave)
                #expect(bytes(one.xcrs) == bytes(other.xcrs))
                #expect(bytes(one.debug) == bytes(other.debug))
                #expect(bytes(one.events) == bytes(other.events))
                #expect(one.multiprocessorState == other.multiprocessorState)
                #expect(one.tscFrequency == other.tscFrequency)
                let moving = Set(try movingRegisters(of: machine, one))
                #expect(
                    one.msrs.filter { !moving.contains($0.index) } == other.msrs.filter { !moving.contains($0.index) })
                #expect(withoutCount(one.localAPIC) == withoutCount(other.localAPIC))
            }
            #expect(zip(saved.pics, loaded.pics).allSatisfy { bytes(withoutTimer($0)) == bytes(withoutTimer($1)) })
            #expect(saved.ioAPIC.redirections == loaded.ioAPIC.redirections)
            #expect(saved.ioAPIC.interruptRequests & ~timerPins == loaded.ioAPIC.interruptRequests & ~timerPins)
            #expect(saved.timer.channels.0.count == loaded.timer.channels.0.count)
            #expect(saved.timer.channels.0.mode == loaded.timer.channels.0.mode)
            // The vector registers of the guest's work are not zero: the comparison above saw something.
            #expect(saved.cpus[0].xsave[160..<416].contains { $0 != 0 })
        }

        /// Registers that change while nothing runs: the TSC and clocks that follow the host's.
        private func movingRegisters(of machine: BareMachine, _ state: BareMachine.CPUState) throws -> [UInt32] {
            let again = try machine.cpus[0].getMSRs(state.msrs.map(\.index)).registers
            let first = try machine.cpus[0].getMSRs(state.msrs.map(\.index)).registers
            // 0x10 TSC and 0x3B its adjustment: a load sets the first, which moves the second. 0x40000010 is the time that
            // the virtual CPU has run, its thread's.
            return zip(first, again).filter { $0 != $1 }.map(\.0.index) + [0x10, 0x3B, 0x4000_0010]
        }

        /// The PIT ticks on in the kernel while nothing runs: at the PIC's pin 0, and at pins 0 and 2 of the IOAPIC.
        private let timerPins: UInt32 = 0b101

        private func withoutTimer(_ state: kvm_pic_state) -> kvm_pic_state {
            var state = state
            state.irr &= ~1
            state.last_irr &= ~1
            return state
        }

        /// The timer's present count runs on.
        private func withoutCount(_ state: LocalAPICState) -> LocalAPICState {
            var state = state
            state[0x390] = 0
            return state
        }

        @Test(arguments: [1, 2]) func `a guest goes on in a new machine again and again`(cpuCount: Int) throws {
            var configuration = BareMachine.Configuration()
            configuration.cpuCount = cpuCount
            var machine = try BareMachine(configuration)
            try machine.boot(
                lively {
                    $0.cpuCount = cpuCount
                    $0.pattern = .random
                    $0.dirtyRate = .mebibytesPerSecond(50)
                })
            try machine.resume()
            var last = try #require(machine.lines.waitForReport())
            for _ in 0..<5 {
                let next = try moved(machine, configuration)
                machine.stop()
                machine = next
                try machine.resume()
                let report = try #require(
                    machine.lines.waitForReport { $0.checkedPageCount > last.checkedPageCount + 4096 },
                    "\(machine.lines.all) \(String(describing: machine.ending))")
                #expect(report.isClean)
                #expect(report.milliseconds > last.milliseconds)
                #expect(report.timerTickCount > last.timerTickCount)
                #expect(report.apicTickCount > last.apicTickCount)
                last = report
            }
            machine.stop()
        }

        @Test func `vector registers that were changed while stopped are noticed`() throws {
            let machine = try BareMachine(.init())
            try machine.boot(lively())
            try machine.resume()
            try #require(machine.lines.waitForReport()?.isClean == true)
            machine.pause()
            var area = try machine.cpus[0].getXSave()
            area[160 + 16 * 5] ^= 1  // XMM5
            try machine.cpus[0].setXSave(area)
            try machine.resume()
            let report = machine.lines.waitForReport { $0.badRegisterCount > 0 }
            machine.stop()
            #expect(report?.badRegisterCount == 1)
            #expect(report?.badPageCount == 0)
        }

        @Test func `a paused machine does not run`() throws {
            let machine = try BareMachine(.init())
            try machine.boot(lively())
            try machine.resume()
            try #require(machine.lines.waitForReport() != nil)
            for _ in 0..<20 {
                machine.pause()
                let before = try machine.cpus[0].getRegisters()
                let memory = Array(machine.memory.bytes[0x20_0000..<0x29_0000])
                let after = try machine.cpus[0].getRegisters()
                #expect(bytes(before) == bytes(after))
                #expect(Array(machine.memory.bytes[0x20_0000..<0x29_0000]) == memory)
                try machine.resume()
            }
            let count = machine.lines.all.count
            #expect(machine.lines.waitForReport(after: count)?.isClean == true)
            machine.stop()
        }
    }
}
