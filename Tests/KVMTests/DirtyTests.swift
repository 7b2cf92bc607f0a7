import BuiltInGuest
import GuestSupport
import KVM
import LinuxSystem
import Synchronization
import Testing

/// Pages that were dirtied, by guest page number.
private final class DirtyPages: Sendable {
    private let pages = Mutex<Set<UInt64>>([])
    let failure = Mutex<String?>(nil)

    var all: Set<UInt64> { pages.withLock { $0 } }
    func insert(_ page: UInt64) { pages.withLock { _ = $0.insert(page) } }
    func removeAll() { pages.withLock { $0 = [] } }

    /// Reads the log of slot 0; with manual protection also clears what it found.
    func sync(_ machine: BareMachine, clears: Bool) throws {
        let pageCount = machine.memory.mapping.byteCount / 4096
        var words = [UInt64](repeating: 0, count: pageCount / 64)
        var span = words.mutableSpan
        try machine.machine.getDirtyLog(slot: 0, into: &span)
        if clears {
            try machine.machine.clearDirtyLog(slot: 0, firstPage: 0, pageCount: pageCount, bitmap: words.span)
        }
        for page in 0..<pageCount where words[page / 64] >> (page % 64) & 1 == 1 { insert(UInt64(page)) }
    }

    /// Empties a ring.
    func take(_ ring: DirtyRing) {
        var pages = [DirtyRing.Page](repeating: .init(slot: 0, index: 0), count: 256)
        while true {
            var span = pages.mutableSpan
            let count = ring.take(into: &span)
            for page in pages.prefix(count) { insert(page.index) }
            if count < pages.count { return }
        }
    }
}

/// The pages of the region, and everything else the guest may write: its image and tables.
private func split(_ pages: Set<UInt64>, _ start: BuiltInGuestLine.Start) -> (region: Set<UInt64>, other: Set<UInt64>) {
    let first = start.regionAddress / 4096
    let region = pages.filter { $0 >= first && $0 < first + UInt64(start.pageCount) }
    return (region, pages.subtracting(region))
}

extension KVMTests {
    @Suite("Dirty pages") struct DirtyTests {
        /// Runs a guest that touches `pageCount` pages in each pass; `sync` is called before the first and after each, on
        /// the virtual CPU's own thread, so that the guest is not running. The pages of each of three passes.
        private func passes(
            _ configuration: BareMachine.Configuration, pageCount: Int,
            sync: @escaping @Sendable (BareMachine, DirtyPages) throws -> Void
        ) throws -> (start: BuiltInGuestLine.Start, passes: [Set<UInt64>]) {
            let found = DirtyPages()
            let results = Mutex<[Set<UInt64>]>([])
            let box = Mutex<BareMachine?>(nil)
            var configuration = configuration
            configuration.onDirtyRingFull = { found.take($0) }
            configuration.onLine = { line in
                guard let machine = box.withLock({ $0 }), results.withLock({ $0.count }) < 4 else { return }
                do {
                    for ring in machine.dirtyRings { found.take(ring) }
                    try sync(machine, found)
                    results.withLock { $0.append(found.all) }
                    found.removeAll()
                } catch { found.failure.withLock { $0 = "\(line): \(error)" } }
            }
            let machine = try BareMachine(configuration)
            box.withLock { $0 = machine }
            defer { box.withLock { $0 = nil } }
            try machine.boot(lively { $0.touchedPageCount = pageCount })
            try machine.resume()
            let isDone = machine.lines.waitForTouched(pass: 3)
            machine.stop()
            try #require(isDone, "\(machine.lines.all) \(String(describing: machine.ending))")
            #expect(found.failure.withLock { $0 } == nil)
            let start = try #require(machine.lines.waitForStart())
            return (start, Array(results.withLock { $0 }.dropFirst()))
        }

        @Test(arguments: [0, 1, 3]) func `the log names exactly the pages written`(manualProtection: UInt64) throws {
            var configuration = BareMachine.Configuration()
            configuration.logsDirtyPages = true
            configuration.manualProtection = manualProtection
            let result = try passes(configuration, pageCount: 300) { machine, pages in
                try pages.sync(machine, clears: manualProtection != 0)
            }
            let first = result.start.regionAddress / 4096
            for pass in result.passes {
                let (region, other) = split(pass, result.start)
                #expect(region == Set((0..<300).map { first + $0 }))
                // Its own variables, stack, line and page tables: never memory that it has no business with.
                #expect(other.count < 20 && other.allSatisfy { $0 >= 0x100 && $0 < 0x290 }, "\(other.sorted())")
            }
            #expect(result.passes.count == 3)
        }

        @Test func `at first every page is set where the kernel was asked for that`() throws {
            var configuration = BareMachine.Configuration()
            configuration.logsDirtyPages = true
            configuration.manualProtection = 3
            let machine = try BareMachine(configuration)
            let pages = DirtyPages()
            try pages.sync(machine, clears: true)
            #expect(pages.all.count == configuration.memoryByteCount / 4096)
            pages.removeAll()
            try pages.sync(machine, clears: true)
            #expect(pages.all.isEmpty)
        }

        @Test func `a part of the log is cleared alone`() throws {
            var configuration = BareMachine.Configuration()
            configuration.logsDirtyPages = true
            configuration.manualProtection = 3
            let machine = try BareMachine(configuration)
            let words = [UInt64](repeating: ~0, count: 2)
            try machine.machine.clearDirtyLog(slot: 0, firstPage: 64, pageCount: 128, bitmap: words.span)
            let pages = DirtyPages()
            try pages.sync(machine, clears: false)
            let all = Set(0..<UInt64(configuration.memoryByteCount / 4096))
            #expect(all.subtracting(pages.all) == Set(64..<192))
        }

        /// Logging starts when the guest is up, as at the start of a migration: where guest kernel code is emulated, KVM
        /// enters each single write of its start-up into the ring, without looking whether there is room.
        @Test func `the ring names exactly the pages written, through many fillings`() throws {
            var configuration = BareMachine.Configuration()
            configuration.dirtyRingCapacity = 1024
            let result = try passes(configuration, pageCount: 3000) { machine, pages in
                if machine.lines.all.count == 1 {
                    try machine.machine.setMemorySlot(
                        0, guestAddress: 0, hostAddress: machine.memory.mapping.baseAddress,
                        byteCount: machine.memory.mapping.byteCount, flags: .logsDirtyPages)
                }
                _ = try machine.machine.resetDirtyRings()
            }
            let first = result.start.regionAddress / 4096
            for pass in result.passes {
                #expect(split(pass, result.start).region == Set((0..<3000).map { first + $0 }))
            }
            #expect(result.passes.count == 3)
        }
    }
}
