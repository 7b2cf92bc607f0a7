import GuestMemory
import LinuxSystem
import Migration
import MigrationStream

/// A machine of nothing but memory, half of it random and half of it zero, with an idle guest.
final class BenchmarkMachine: MigratableMachine, @unchecked Sendable {
    // Safe: used by one migration at a time.
    let machineName = "microvm"
    let uuid = MachineUUID.none
    let regions: [MemoryRegion]
    let disks: [any MigratableDisk] = []

    /// - Parameter fills: Writes every second MiB, and touches nothing else.
    init(mebibytes: Int, fills: Bool) throws {
        let mapping = try MemoryMapping(.anonymous, byteCount: mebibytes << 20)
        let block = RAMBlock(name: "microvm.ram", mapping: mapping)
        regions = [MemoryRegion(block: block, beginsAsZero: true)]
        guard fills else { return }
        var state: UInt64 = 88_172_645_463_325_252
        for part in stride(from: 0, to: mebibytes, by: 2) {
            let words = block.bytes(at: part << 20, count: 1 << 20).bindMemory(to: UInt64.self)
            for index in words.indices {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                words[index] = state
            }
        }
    }

    func startDirtyTracking() -> Bool { true }
    func stopDirtyTracking() {}
    func readDirtyLog(of index: Int, into words: inout [UInt64]) {
        for word in words.indices { words[word] = 0 }
    }
    func clearDirtyLog(of index: Int, firstWord: Int, words: [UInt64]) {}
    func dirtiedPageCounts() -> [Int] { [] }
    func setThrottle(_ throttle: GuestThrottle) {}
    func pause(_ guest: consuming RunningGuest) -> GuestTransition { GuestTransition(.paused(PausedGuest())) }
    func resume(_ guest: consuming PausedGuest) -> GuestTransition { GuestTransition(.running(RunningGuest())) }
    func saveDeviceState(wasRunning: Bool) -> SavedDeviceState {
        SavedDeviceState(
            sections: [DeviceSection(name: "nothing", version: 1, state: [1, 2, 3])],
            description: "{\"page_size\":4096,\"devices\":[]}")
    }
    func checkSection(_ header: SectionHeader) {}
    func loadDeviceState(_ section: DeviceSection) {}
    func finishLoading() -> Bool { true }
    func announce() {}

    /// Gives every page back, so that the next run begins with untouched memory.
    func forget() throws { try regions[0].block.discard(regions[0].block.allPages) }

    /// Touches every page and gives it back: memory of a virtual host that was not used lately is slow at first touch.
    func warm() throws {
        let bytes = regions[0].block.bytes(at: 0, count: regions[0].block.byteCount)
        for offset in stride(from: 0, to: bytes.count, by: pageSize) { bytes[offset] = 1 }
        try forget()
    }
}
