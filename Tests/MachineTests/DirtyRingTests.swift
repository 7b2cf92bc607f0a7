import BuiltInGuest
import Devices
import Glibc
import GuestMemory
import GuestSupport
import KVM
import LinuxSystem
import Machine
import Migration
import Testing

private let largestRing = (try? KVMSystem())?.value(of: .dirtyRing) ?? 0

@Suite("Dirty pages of a machine", .enabled(if: hasKVM, "/dev/kvm cannot be opened"), .serialized)
struct MachineDirtyPagesTests {
    private static func parameters(cpuCount: Int) throws -> BuiltInGuestParameters {
        var parameters = try livelyParameters(cpuCount: cpuCount)
        parameters.dirtyRate = .unlimited
        parameters.pattern = .random
        return parameters
    }

    /// Copies memory as a migration does: all of it, then again and again what was dirtied, the rest when the guest
    /// stands still.
    @Test(.enabled(if: largestRing > 0, "KVM has no dirty rings"), arguments: [nil, 1024, 4096])
    func `copying what the log names gives the guest's memory`(ringCapacity: Int?) throws {
        let guest = try GuestMachine(
            cpuCount: 2, parameters: Self.parameters(cpuCount: 2), dirtyRingCapacity: ringCapacity)
        let machine = guest.machine
        try machine.resume()
        var last = try #require(guest.lines.waitForReport(), "\(guest.lines.all) \(guest.events.failures)")
        let copy = try RAMBlock(
            name: "copy", mapping: MemoryMapping(.anonymousSmallPages, byteCount: machine.ram.byteCount))
        var words = [UInt64](repeating: 0, count: machine.ram.dirtyBitmap.wordCount)

        let beginsSet = try machine.startDirtyTracking()
        defer { machine.stopDirtyTracking() }
        if beginsSet {
            try machine.clearDirtyLog(of: 0, firstWord: 0, words: [UInt64](repeating: ~0, count: words.count))
        }
        copyPages(of: machine.ram, to: copy, [UInt64](repeating: ~0, count: words.count))
        var foundCount = 0
        for _ in 0..<5 {
            last = try #require(
                guest.lines.waitForReport { $0.dirtiedPageCount > last.dirtiedPageCount },
                "\(guest.lines.all) \(guest.events.failures)")
            try machine.readDirtyLog(of: 0, into: &words)
            try machine.clearDirtyLog(of: 0, firstWord: 0, words: words)
            foundCount += words.reduce(0) { $0 + $1.nonzeroBitCount }
            copyPages(of: machine.ram, to: copy, words)
        }
        try machine.pause()
        try machine.readDirtyLog(of: 0, into: &words)
        copyPages(of: machine.ram, to: copy, words)

        #expect(differences(machine.ram, copy) == [])
        #expect(foundCount > 1000 && last.isClean)
    }

    @Test(.enabled(if: largestRing > 0, "KVM has no dirty rings"))
    func `rings say which virtual CPU writes`() throws {
        let guest = try GuestMachine(cpuCount: 2, parameters: Self.parameters(cpuCount: 2), dirtyRingCapacity: 1024)
        let machine = guest.machine
        try machine.resume()
        try #require(guest.lines.waitForReport() != nil, "\(guest.lines.all) \(guest.events.failures)")
        _ = try machine.startDirtyTracking()
        defer { machine.stopDirtyTracking() }
        try #require(waitUntil { machine.dirtiedPageCounts().allSatisfy { $0 > 5000 } })
        try #require(waitUntil { machine.virtualCPUDirtyRates().count == 2 })
        let rates = machine.virtualCPUDirtyRates()
        #expect(rates.map(\.index) == [0, 1] && rates.allSatisfy { $0.rate > 0 && $0.limit == nil })
        #expect(guest.events.failures == [])
    }

    @Test func `the log does not say who writes`() throws {
        let guest = try GuestMachine(parameters: nil)
        _ = try guest.machine.startDirtyTracking()
        defer { guest.machine.stopDirtyTracking() }
        #expect(guest.machine.dirtiedPageCounts() == [] && guest.machine.virtualCPUDirtyRates() == [])
    }

    @Test(arguments: [0, 1000, 1025, 1 << 30]) func `a ring of an impossible size is refused`(capacity: Int) {
        let error = #expect(throws: MachineError.self) {
            _ = try GuestMachine(parameters: nil, dirtyRingCapacity: capacity)
        }
        #expect("\(error.map { "\($0)" } ?? "")".hasPrefix("A dirty ring of \(capacity) entries is not possible: "))
    }

    private func copyPages(of source: RAMBlock, to destination: RAMBlock, _ words: [UInt64]) {
        for page in 0..<source.pageCount where words[page / 64] >> UInt64(page % 64) & 1 == 1 {
            destination.bytes(at: page * pageSize, count: pageSize).copyMemory(
                from: UnsafeRawBufferPointer(source.bytes(at: page * pageSize, count: pageSize)))
        }
    }

    private func differences(_ one: RAMBlock, _ other: RAMBlock) -> [Int] {
        (0..<one.pageCount).filter { page in
            memcmp(one.hostAddress + page * pageSize, other.hostAddress + page * pageSize, pageSize) != 0
        }
    }
}

/// Waits at most a minute for something that is looked at again and again.
private func waitUntil(_ condition: () -> Bool) -> Bool {
    let end = ContinuousClock.now + .seconds(60)
    let gate = Gate()
    while ContinuousClock.now < end {
        if condition() { return true }
        gate.wait(for: .milliseconds(20))
    }
    return false
}
