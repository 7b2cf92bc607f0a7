import CWorkload
import Glibc
import Synchronization

/// Writes blocks of a disk with direct I/O, flushes, reads them back and checks them, without end.
///
/// A disk may give errors: what a failed write, or the writes before a failed flush, have left behind is unknown, and
/// such blocks are not checked until they have been written again. So errors and wrong contents are told apart.
///
/// offset  size  field of a 4096-byte block, all words little-endian
///      0     8  "apusdisk"
///      8     8  number of the block
///     16     8  its generation, 0 for one that this run has not written
///     24     8  number of the run, random
///     32  4064  508 words: mix(number << 32 | generation, run) + 4, + 5 …
final class DiskCheck: Sendable {
    private static let magic: UInt64 = 0x6b73_6964_7375_7061
    private let path: String
    private let descriptor: Int32
    private let blockCount: Int
    private let run: UInt64
    private let counters: Counters
    // The first failures of each kind are told one by one.
    private let failedWrites = Atomic<Int>(0)
    private let failedFlushes = Atomic<Int>(0)
    private let failedReads = Atomic<Int>(0)
    let isDone = Atomic<Bool>(false)

    /// - Returns: nil when there is no such disk; a line says why when it is there but cannot be used.
    init?(path: String, area: Int, counters: Counters) {
        guard !path.isEmpty, access(path, F_OK) == 0 else { return nil }
        let descriptor = workload_open_disk(path)
        guard descriptor >= 0 else {
            say("workload: BAD disk: \(path) cannot be opened, error \(-descriptor)")
            return nil
        }
        let size = workload_disk_size(descriptor)
        self.path = path
        self.descriptor = descriptor
        blockCount = Int(min(max(0, size), Int64(area) << 20) / 4096)
        run = Pages.mix(UInt64(truncatingIfNeeded: now()))
        self.counters = counters
        guard blockCount > 0 else {
            say("workload: BAD disk: \(path) has \(size) bytes")
            return nil
        }
    }

    /// Runs until `controls` says stop; then reads every block once more.
    func check(rate: Double, controls: Controls) {
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { buffer.deallocate() }
        var generations = [UInt64](repeating: 0, count: blockCount)
        var isKnown = [Bool](repeating: false, count: blockCount)
        var sinceFlush: [Int] = []
        var pace = Pace()
        var random = run
        while !controls.isStopping.load(ordering: .relaxed) {
            let time = now()
            guard pace.isDue(at: time, rate: rate) else {
                sleep(nanoseconds: min(pace.due - time, 100_000_000))
                continue
            }
            pace.count(4096 / 1e6)
            random = Pages.mix(random &+ 1)
            let block = Int(random % UInt64(blockCount))
            generations[block] += 1
            isKnown[block] = write(block, generations[block], buffer)
            sinceFlush.append(block)
            if sinceFlush.count == 32 { flush(&sinceFlush, &isKnown) }
            let other = Int((random >> 32) % UInt64(blockCount))
            if isKnown[other] { verify(other, generations[other], buffer) }
        }
        flush(&sinceFlush, &isKnown)
        for block in 0..<blockCount where isKnown[block] { verify(block, generations[block], buffer) }
        isDone.store(true, ordering: .releasing)
    }

    private func flush(_ written: inout [Int], _ isKnown: inout [Bool]) {
        if fdatasync(descriptor) != 0 {
            for block in written { isKnown[block] = false }
            fail("flush", written.last ?? 0, failedFlushes)
        }
        written = []
    }

    private func seed(_ block: Int, _ generation: UInt64) -> UInt64 {
        Pages.mix(Pages.mix(UInt64(block) << 32 | generation) &+ run)
    }

    /// - Returns: Whether the block now holds this generation.
    private func write(_ block: Int, _ generation: UInt64, _ buffer: UnsafeMutableRawPointer) -> Bool {
        let words = buffer.assumingMemoryBound(to: UInt64.self)
        let seed = seed(block, generation)
        for index in 4..<512 { words[index] = seed &+ UInt64(index) }
        (words[0], words[1], words[2], words[3]) = (Self.magic, UInt64(block), generation, run)
        guard pwrite(descriptor, buffer, 4096, block * 4096) == 4096 else {
            fail("write", block, failedWrites)
            return false
        }
        counters.diskWritten.add(1, ordering: .relaxed)
        return true
    }

    private func verify(_ block: Int, _ generation: UInt64, _ buffer: UnsafeMutableRawPointer) {
        guard pread(descriptor, buffer, 4096, block * 4096) == 4096 else { return fail("read", block, failedReads) }
        let words = buffer.assumingMemoryBound(to: UInt64.self)
        let seed = seed(block, generation)
        var isIntact = (words[0], words[1], words[2], words[3]) == (Self.magic, UInt64(block), generation, run)
        for index in 4..<512 where words[index] != seed &+ UInt64(index) { isIntact = false }
        counters.diskChecked.add(1, ordering: .relaxed)
        guard !isIntact else { return }
        let bad = counters.diskBad.add(1, ordering: .relaxed).newValue
        if bad <= 5 {
            say(
                "workload: BAD disk: \(path): block \(block) holds block \(words[1]) generation \(words[2]), "
                    + "not \(generation)")
        }
    }

    private func fail(_ what: String, _ block: Int, _ failed: borrowing Atomic<Int>) {
        let number = errno
        counters.diskErrors.add(1, ordering: .relaxed)
        let count = failed.add(1, ordering: .relaxed).newValue
        if count <= 20 { say("workload: BAD disk: \(path): \(what) of block \(block) failed, error \(number)") }
        sleep(nanoseconds: 100_000_000)
    }
}
