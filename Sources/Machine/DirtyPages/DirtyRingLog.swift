internal import GuestMemory
internal import KVM
internal import LinuxSystem
internal import Synchronization

/// The dirty rings of all virtual CPUs, made to behave like the kernel's dirty log.
///
///     ring: entries --collect--> taken, pages protected again, marked in the log --clear--> forgotten
///
/// A page is marked only after the kernel protects it again. Were it the other way round, a reader could clear the mark
/// and read the page while it is still writable without an entry: what is written then would be lost.
///
/// Any thread may call everything; a virtual CPU whose ring is full empties its own.
final class DirtyRingLog: Sendable {
    /// Entries of each ring.
    let capacity: Int
    private let machine: KVMVirtualMachine
    private let rings: [DirtyRing]
    private let slots: [Machine.MemorySlot]
    /// What the log says of each slot's block, by the slot's number.
    private let bitmaps: [DirtyBitmap]
    /// Pages that each virtual CPU has dirtied, and since when. Also who takes entries: one thread at a time.
    private let state: Mutex<State>

    private struct State {
        var counts: [Int]
        var fullCounts: [Int]
        var scratch: [DirtyRing.Page]
    }

    /// - Precondition: the machine was made with rings of this capacity, and the virtual CPUs have not run.
    init(capacity: Int, cpus: [KVMVirtualCPU], machine: KVMVirtualMachine, slots: [Machine.MemorySlot])
        throws(SystemError)
    {
        self.capacity = capacity
        self.machine = machine
        self.slots = slots
        var rings: [DirtyRing] = []
        for cpu in cpus { rings.append(try cpu.mapDirtyRing(capacity: capacity)) }
        self.rings = rings
        var bitmaps: [DirtyBitmap] = []
        for (index, slot) in slots.enumerated() {
            precondition(slot.number == UInt32(index), "slot \(slot.number) at place \(index)")
            let sibling = slots.prefix(index).firstIndex { $0.region.block === slot.region.block }
            bitmaps.append(sibling.map { bitmaps[$0] } ?? DirtyBitmap(pageCount: slot.region.block.pageCount))
        }
        self.bitmaps = bitmaps
        let none = [Int](repeating: 0, count: cpus.count)
        state = Mutex(
            State(
                counts: none, fullCounts: none,
                scratch: [DirtyRing.Page](repeating: .init(slot: 0, index: 0), count: capacity)))
    }

    /// The largest ring this kernel has, in entries; 0 when it has none.
    static func largestCapacity(of system: KVMSystem) -> Int {
        max(system.value(of: .dirtyRing), system.value(of: .dirtyRingAcquireRelease)) / DirtyRing.entryByteCount
    }

    /// Makes `machine` one with rings; before the first virtual CPU.
    static func enable(capacity: Int, for machine: KVMVirtualMachine) throws(SystemError) {
        let hasOrdered = machine.system.value(of: .dirtyRingAcquireRelease) != 0
        try machine.enable(
            hasOrdered ? .dirtyRingAcquireRelease : .dirtyRing, UInt64(capacity * DirtyRing.entryByteCount))
    }

    /// Forgets everything, also what is still in the rings.
    func clear() throws(SystemError) {
        try collect()
        for bitmap in bitmaps { bitmap.clearAll() }
        state.withLock { state in
            for index in state.counts.indices {
                state.counts[index] = 0
                state.fullCounts[index] = 0
            }
        }
    }

    /// Empties all rings into the log.
    func collect() throws(SystemError) { for index in rings.indices { try collect(from: index) } }

    /// Empties the ring of one virtual CPU into the log.
    func collect(from index: Int, isFull: Bool = false) throws(SystemError) {
        try state.withLock { state throws(SystemError) in
            var span = state.scratch.mutableSpan
            let count = rings[index].take(into: &span)
            if isFull { state.fullCounts[index] += 1 }
            // A ring that is full and gives nothing was overrun; only a reset can help it.
            if count == 0 && !isFull { return }
            _ = try machine.resetDirtyRings()
            state.counts[index] += count
            for position in 0..<count { mark(state.scratch[position]) }
        }
    }

    private func mark(_ page: DirtyRing.Page) {
        // The upper half of a slot's number is its address space, of which there is one.
        guard Int(page.slot) < slots.count else { return }
        let region = slots[Int(page.slot)].region
        guard page.index < UInt64(region.byteCount / pageSize) else { return }
        let first = region.blockOffset / pageSize + Int(page.index)
        bitmaps[Int(page.slot)].mark(PageRange(first: PageIndex(first), pageCount: 1))
    }

    /// Copies the log of `block` into `words`; nothing is cleared.
    func read(_ block: RAMBlock, into words: inout [UInt64]) throws(SystemError) {
        try collect()
        guard let bitmap = bitmap(of: block) else { return }
        for index in 0..<min(words.count, bitmap.wordCount) { words[index] = bitmap.word(at: index) }
    }

    /// Forgets the marks whose bits are set. The pages are protected already.
    func clear(_ block: RAMBlock, firstWord: Int, words: [UInt64]) {
        guard let bitmap = bitmap(of: block) else { return }
        for (index, bits) in words.enumerated() where bits != 0 && firstWord + index < bitmap.wordCount {
            bitmap.clear(word: firstWord + index, bits: bits)
        }
    }

    private func bitmap(of block: RAMBlock) -> DirtyBitmap? {
        slots.firstIndex { $0.region.block === block }.map { bitmaps[$0] }
    }

    /// How many pages each virtual CPU has dirtied since `clear`, and how often its ring was full.
    ///
    /// A page counts again each time that it is written after it was collected.
    func counts() throws(SystemError) -> (pages: [Int], timesFull: [Int]) {
        try collect()
        return state.withLock { ($0.counts, $0.fullCounts) }
    }
}
