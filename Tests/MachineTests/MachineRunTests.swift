import BuiltInGuest
import CLinux
import Devices
import GuestMemory
import GuestSupport
import KVM
import Migration
import MigrationStream
import Testing

@testable import Machine

@Suite("Machine", .enabled(if: hasKVM, "/dev/kvm cannot be opened"), .serialized)
struct MachineRunTests {
    @Test(arguments: [1, 2]) func `the built-in guest runs clean to its end and resets`(cpuCount: Int)
        throws
    {
        let guest = try GuestMachine(
            cpuCount: cpuCount, parameters: livelyParameters(cpuCount: cpuCount, seconds: 2))
        try guest.machine.resume()
        let end = try #require(guest.lines.waitForEnd(), "\(guest.lines.all) \(guest.events.failures)")
        #expect(end.isClean)
        #expect(
            end.checkedPageCount > 1000 && end.timerTickCount > 50 && end.apicTickCount > 20 * cpuCount)
        #expect(guest.events.waitForEvent() == .reset)
    }

    @Test func `a paused guest writes nothing and goes on`() throws {
        let guest = try GuestMachine(parameters: livelyParameters())
        try guest.machine.resume()
        #expect(guest.lines.waitForReport() != nil)
        for _ in 0..<20 {
            try guest.machine.pause()
            let before = checksum(guest.machine)
            #expect(checksum(guest.machine) == before)
            let count = guest.lines.all.count
            try guest.machine.resume()
            #expect(guest.lines.waitForReport(after: count)?.isClean == true)
        }
    }

    @Test func `a reset starts the guest again`() throws {
        let guest = try GuestMachine(cpuCount: 2, parameters: livelyParameters(cpuCount: 2))
        for round in 0..<3 {
            try guest.machine.resume()
            let start = guest.lines.waitForLine(after: 0) { line in
                if case .start = line { true } else { nil }
            }
            #expect(start == true)
            let reports = guest.lines.all.count
            #expect(guest.lines.waitForReport(after: reports)?.isClean == true)
            try guest.machine.pause()
            try guest.machine.reset()
            let starts = guest.lines.guestLines.filter { if case .start = $0 { true } else { false } }
            #expect(starts.count == round + 1)
        }
    }

    // A timer that ticked after a reset interrupted Linux, which knows no PIC here, with vector 0: a divide error.
    @Test func `a reset brings the timer back to a standstill`() throws {
        let guest = try GuestMachine(cpuCount: 1, parameters: livelyParameters(cpuCount: 1))
        func timerModes() throws -> [UInt8] {
            let state = try guest.machine.kvm.getTimer()
            return [state.channels.0.mode, state.channels.1.mode, state.channels.2.mode]
        }
        let fresh = try timerModes()
        try guest.machine.reset()
        #expect(try timerModes() == fresh)
    }

    @Test(arguments: [1, 2]) func `a guest goes from machine to machine twenty times without harm`(
        cpuCount: Int
    ) throws {
        func devices(_ memory: MemoryDisk) -> [any VirtioDevice] {
            [BlockDevice(backend: memory), EntropyDevice()]
        }
        let disk = MemoryDisk(sectorCount: 64)
        var guest = try GuestMachine(
            cpuCount: cpuCount, parameters: livelyParameters(cpuCount: cpuCount), devices: devices(disk))
        try guest.machine.resume()
        var last = try #require(
            guest.lines.waitForReport(), "\(guest.lines.all) \(guest.events.failures)")
        for hop in 0..<20 {
            try guest.machine.pause()
            let next = try GuestMachine(cpuCount: cpuCount, parameters: nil, devices: devices(disk))
            try next.take(guest)
            guest = next
            try guest.machine.resume()
            // Work, clock and timer all go on.
            let report = try #require(
                guest.lines.waitForReport {
                    $0.checkedPageCount > last.checkedPageCount && $0.apicTickCount > last.apicTickCount
                }, "hop \(hop): \(guest.lines.all) \(guest.events.failures)")
            #expect(report.isClean, "hop \(hop)")
            #expect(report.milliseconds > last.milliseconds, "hop \(hop): the clock went back")
            last = report
        }
    }

    @Test func `saving, loading and saving again gives the same sections`() throws {
        let guest = try GuestMachine(
            cpuCount: 2, parameters: livelyParameters(cpuCount: 2), devices: [EntropyDevice()])
        try guest.machine.resume()
        #expect(guest.lines.waitForReport() != nil)
        try guest.machine.pause()
        let other = try GuestMachine(cpuCount: 2, parameters: nil, devices: [EntropyDevice()])
        try other.take(guest)
        let first = try guest.machine.saveSections(runState: "paused")
        let second = try other.machine.saveSections(runState: "paused")
        #expect(first.map(\.name) == second.map(\.name))
        // Time stamp counters, the PIT's and the LAPIC timers' times go on while a machine is paused.
        let moving: Set = ["timer", "i8254", "apic", "cpu"]
        for (one, two) in zip(first, second) where !moving.contains(one.name) {
            #expect(one.state.bytes == two.state.bytes, "\(one.name) \(one.instance)")
        }
    }

    @Test func `a rehearsal leaves a machine as it was, and a guest that arrives afterwards goes on`() throws {
        let other = try GuestMachine(cpuCount: 2, parameters: nil, devices: [EntropyDevice()])
        let before = try other.machine.saveSections(runState: "paused")
        for _ in 0..<3 { rehearseLoading(into: other.machine) }
        let after = try other.machine.saveSections(runState: "paused")
        let moving: Set = ["timer", "i8254", "apic", "cpu", "kvmclock"]
        for (one, two) in zip(before, after) where !moving.contains(one.name) {
            #expect(one.state.bytes == two.state.bytes, "\(one.name) \(one.instance)")
        }
        let guest = try GuestMachine(
            cpuCount: 2, parameters: livelyParameters(cpuCount: 2), devices: [EntropyDevice()])
        try guest.machine.resume()
        let last = try #require(guest.lines.waitForReport())
        // While it runs: what can be asked of it then has the sections that it will have.
        let rehearsed = try #require(try guest.machine.rehearseSaving())
        try guest.machine.pause()
        let saved = Set(try guest.machine.saveSections(runState: "running").map(\.name))
        #expect(Set(rehearsed.map(\.name)) == saved && rehearsed.allSatisfy { $0.describe != nil })
        try other.take(guest)
        try other.machine.resume()
        let report = try #require(
            other.lines.waitForReport { $0.checkedPageCount > last.checkedPageCount }, "\(other.lines.all)")
        #expect(report.isClean)
    }

    /// Its page directory pointers are read from memory when the registers are set.
    @Test func `only a virtual CPU with physical address extension waits for memory`() {
        var state = VirtualCPUState()
        #expect(!state.loadingReadsMemory)
        state.cpu.cr0 |= 1 << 31
        #expect(!state.loadingReadsMemory)
        state.cpu.cr4 |= 1 << 5
        #expect(state.loadingReadsMemory)
        state.cpu.efer |= 1 << 10
        #expect(!state.loadingReadsMemory, "long mode")
    }

    @Test func `a machine that misses a section says which`() throws {
        let guest = try GuestMachine(parameters: livelyParameters(), devices: [EntropyDevice()])
        let other = try GuestMachine(parameters: nil, devices: [EntropyDevice()])
        for section in try guest.machine.saveSections(runState: "paused") where section.name != "cpu" {
            try other.machine.loadSection(
                name: section.name, instance: section.instance,
                ReceivedState(version: section.state.version, bytes: section.state.bytes))
        }
        #expect(throws: MachineLoadError.missingSections(["cpu 0"])) {
            try other.machine.finishLoadingSections()
        }
    }

    @Test func `a section of a device that is not there is refused by name`() throws {
        let guest = try GuestMachine(parameters: nil)
        let name = "virtio-mmio@00000000feb00e00/virtio-blk"
        #expect(throws: MachineLoadError.unknownSection(name: name, instance: 0)) {
            try guest.machine.checkSection(name: name, instance: 0, version: 2)
        }
    }

    private func checksum(_ machine: Machine) -> UInt64 {
        var sum: UInt64 = 0
        let bytes = machine.ram.bytes(at: 0, count: machine.ram.byteCount)
        for offset in stride(from: 0, to: bytes.count, by: 512) {
            sum = sum &* 31 &+ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        }
        return sum
    }
}
