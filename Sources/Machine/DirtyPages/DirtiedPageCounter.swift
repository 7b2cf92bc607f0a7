internal import GuestMemory
internal import KVM
internal import LinuxSystem
internal import Synchronization

/// Counts the pages that the virtual CPUs have dirtied.
///
/// With dirty rings each one's own. Without, the kernel's log tells only that there was a first write to a page since
/// it was cleared; these are divided among all virtual CPUs.
final class DirtiedPageCounter: Sendable {
    private let rings: DirtyRingLog?
    private let machine: KVMVirtualMachine
    private let slots: [Machine.MemorySlot]
    private let cpuCount: Int
    private let state = Mutex(State())

    private struct State {
        /// What the log of each slot said at the last look.
        var seen: [[UInt64]] = []
        var total = 0
    }

    init(rings: DirtyRingLog?, machine: KVMVirtualMachine, slots: [Machine.MemorySlot], cpuCount: Int) {
        self.rings = rings
        self.machine = machine
        self.slots = slots
        self.cpuCount = cpuCount
    }

    /// Pages dirtied so far, one entry for each virtual CPU.
    ///
    /// - Throws: `SystemError`, also while nothing is logged.
    func counts() throws(SystemError) -> [Int] {
        if let rings { return try rings.counts().pages }
        return try state.withLock { state throws(SystemError) in
            if state.seen.isEmpty { state.seen = slots.map { [UInt64](repeating: ~0, count: Self.wordCount($0)) } }
            for (index, slot) in slots.enumerated() {
                var words = [UInt64](repeating: 0, count: Self.wordCount(slot))
                var span = words.mutableSpan
                try machine.getDirtyLog(slot: slot.number, into: &span)
                for word in words.indices {
                    state.total += (words[word] & ~state.seen[index][word]).nonzeroBitCount
                }
                state.seen[index] = words
            }
            return [Int](repeating: state.total / cpuCount, count: cpuCount)
        }
    }

    private static func wordCount(_ slot: Machine.MemorySlot) -> Int { (slot.region.byteCount / pageSize + 63) / 64 }
}
