public import GuestMemory
internal import LinuxSystem
public import Migration
internal import Synchronization

/// Guest memory of which pages are missing, by userfaultfd.
///
/// How a page is put into place depends on what is behind its block: shared memory is written through a second view and
/// then shown, private memory is moved out of a staging area where the kernel can (Linux 6.8) and copied elsewhere, and
/// explicit huge pages are copied whole.
public final class UserFaultMemory: MissingMemory {
    public let method: InstallMethod
    public var virtualCPUCount: Int { virtualCPUs.count }
    let fault: UserFault
    let blocks: [Block]
    /// Whether private pages are moved.
    let moves: Bool
    /// Virtual CPUs by their threads.
    private let virtualCPUs: [Int32: Int]
    private let pageWaits: PageWaits?
    private let standIns = StandIns()
    private let raised = Mutex(RaisedThreads())
    /// Regions of which pages were dropped.
    private let hasHoles = Mutex<Set<Int>>([])
    private let poller: Poller
    private let ending: EventDescriptor

    /// A block and its second view, if it has one.
    struct Block: Sendable {
        let block: RAMBlock
        let view: View?

        var unitPageCount: Int { block.hostPageByteCount / pageSize }
        var isHuge: Bool { block.hostPageByteCount > pageSize }
    }

    final class View: Sendable {
        let mapping: MemoryMapping
        init(_ mapping: consuming MemoryMapping) { self.mapping = mapping }
    }

    private static let faultKey: UInt64 = 1
    private static let endingKey: UInt64 = 2

    /// - Parameters:
    ///   - virtualCPUThreads: The kernel's ids of the virtual CPUs' threads, in the order of the virtual CPUs.
    ///   - avoids: Ways not to be used, though the kernel may have them: for tests and comparisons.
    ///   - unserved: Kinds of memory that the kernel is taken not to serve: for tests.
    /// - Throws: `MigrationError.postcopyImpossible` with what is in the way and what to do about it.
    public convenience init(
        blocks: [RAMBlock], virtualCPUThreads: [Int32] = [], avoiding avoids: Set<InstallMethod> = [],
        withoutServing unserved: Set<WatchedKind> = []
    ) throws {
        try self.init(blocks, virtualCPUThreads, nil, avoiding: avoids, withoutServing: unserved)
    }

    /// - Parameter pageWaits: Knows of waits of the kernel's threads for whom they are.
    init(
        _ blocks: [RAMBlock], _ virtualCPUThreads: [Int32], _ pageWaits: PageWaits?,
        avoiding avoids: Set<InstallMethod> = [], withoutServing unserved: Set<WatchedKind> = []
    ) throws {
        var supported = try Self.supportedFeatures()
        for kind in unserved { supported.remove(kind.feature) }
        for block in blocks {
            if let kind = WatchedKind(of: block), !supported.contains(kind.feature) {
                throw MigrationError.postcopyImpossible(kind.refusal(of: block))
            }
        }
        let isShared = blocks.contains { WatchedKind(of: $0) == .shared }
        let isHuge = blocks.contains { WatchedKind(of: $0) == .huge }
        var features: UserFault.Features = []
        if supported.contains(.threadIDs) { features.insert(.threadIDs) }
        moves = supported.contains(.move) && !avoids.contains(.move)
        if moves { features.insert(.move) }
        let shows =
            supported.isSuperset(of: [.missingSharedMemory, .minorSharedMemory]) && !avoids.contains(.makePresent)
        if isShared {
            features.insert(.missingSharedMemory)
            if shows { features.insert(.minorSharedMemory) }
        }
        if isHuge { features.insert(.missingHugePages) }
        fault = try UserFault(features: features)
        self.blocks = try blocks.map { block in
            let hasView = block.isShared && block.hostPageByteCount == pageSize && shows
            return Block(block: block, view: hasView ? View(try block.secondView()) : nil)
        }
        self.pageWaits = pageWaits
        virtualCPUs = Dictionary(virtualCPUThreads.enumerated().map { ($1, $0) }) { first, _ in first }
        method =
            if self.blocks.contains(where: { $0.view != nil }) { .makePresent } else if moves && !isHuge { .move } else
            {
                .copy
            }
        ending = try EventDescriptor()
        poller = try Poller()
        try poller.add(fault.descriptor.number, for: .readable, key: Self.faultKey)
        try poller.add(ending.number, for: .readable, key: Self.endingKey)
        try tryOut()
    }

    private static func supportedFeatures() throws -> UserFault.Features {
        do throws(SystemError) { return try UserFault().supportedFeatures } catch {
            throw MigrationError.postcopyImpossible(
                "Post-copy needs userfaultfd, which this process may not use (\(error)): run it as root or with "
                    + "CAP_SYS_PTRACE, give it access to /dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd=1."
            )
        }
    }

    /// Watches all memory for a moment, so that a kind that cannot be watched is known before it is needed.
    private func tryOut() throws {
        for block in blocks {
            if block.block.isLocked {
                throw MigrationError.postcopyImpossible(
                    "RAM block \(block.block.name) is locked in memory (mlock), so that no page of it can be dropped and "
                        + "fetched again: start this monitor without locked memory.")
            }
            do throws(SystemError) {
                try fault.register(block.block.hostAddress, byteCount: block.block.byteCount, for: modes(of: block))
                try fault.unregister(block.block.hostAddress, byteCount: block.block.byteCount)
            } catch {
                throw MigrationError.postcopyImpossible(
                    "RAM block \(block.block.name) cannot be watched for missing pages: \(error).")
            }
        }
    }

    private func modes(of block: Block) -> UserFault.Modes { block.view == nil ? .missing : [.missing, .minor] }

    public func unitPageCount(of region: Int) -> Int { blocks[region].unitPageCount }

    /// What moves is best a huge page. Elsewhere the link would fill up while much is put into place, and then be empty;
    /// and what lies in the processor's caches is copied faster.
    public func chunkPageCount(of region: Int) -> Int {
        let block = blocks[region]
        if block.isHuge { return block.unitPageCount }
        return moves && block.view == nil ? 512 : 64
    }

    public func forget(region: Int, _ range: PageRange) throws {
        let block = blocks[region].block
        do throws(SystemError) {
            // A huge page that the kernel makes of its own accord would fill the holes again. Said once: of discards
            // there may be thousands, and the guest stands still meanwhile.
            if hasHoles.withLock({ $0.insert(region).inserted }) { try block.allowHugePages(false) }
            try block.discard(range)
        } catch {
            throw MigrationError.postcopyImpossible(
                "Pages of RAM block \(block.name) cannot be dropped, as for locked memory: \(error).")
        }
    }

    /// How much virtual CPUs go before others while pages are missing, in steps of niceness: what they waited for is there
    /// when threads take in pages that go before them, and a guest in post-copy has waited enough.
    private static let virtualCPULead: Int32 = 11

    public func listen() throws {
        raised.withLock { raised in
            for thread in virtualCPUs.keys { raised.raise(ThreadIdentity(number: thread), by: Self.virtualCPULead) }
        }
        for (region, block) in blocks.enumerated() {
            if hasHoles.withLock({ $0.insert(region).inserted }) { try block.block.allowHugePages(false) }
            try fault.register(block.block.hostAddress, byteCount: block.block.byteCount, for: modes(of: block))
        }
    }

    public func waitForFaults() throws -> [MissingPageFault] {
        while true {
            let ready = try poller.wait()
            if ready.contains(where: { $0.key == Self.endingKey }) { return [] }
            let faults = try fault.readFaults().compactMap { located($0) }
            if !faults.isEmpty { return faults }
        }
    }

    public func virtualCPU(of fault: MissingPageFault) -> Int? {
        let thread = fault.waiter
        if let index = virtualCPUs[thread] { return index }
        if ThreadIdentity(number: thread).isOwn { return nil }
        standIns.hurry(thread)
        return virtualCPUs.count == 1 ? 0 : pageWaits?.findNext()
    }

    private func located(_ fault: UserFault.Fault) -> MissingPageFault? {
        for (region, block) in blocks.enumerated() {
            let start = UInt(bitPattern: block.block.hostAddress)
            guard fault.address >= start, fault.address - start < UInt(block.block.byteCount) else { continue }
            return MissingPageFault(
                region: region, page: Int(fault.address - start) / pageSize, waiter: fault.thread)
        }
        return nil
    }

    public func endFaults() { ending.notify() }

    public func resolve(region: Int, page: Int) throws {
        let block = blocks[region]
        let unit = block.block.hostPageByteCount
        let offset = page * pageSize / unit * unit
        let address = block.block.hostAddress + offset
        // A page that was received as zero before anybody touched it is not there yet.
        if !block.isHuge, try fault.zero(address, byteCount: unit) != .alreadyThere { return }
        if block.view != nil, try fault.makePresent(address, byteCount: unit) != .alreadyThere { return }
        if block.isHuge {
            let zeros = try MemoryMapping(.anonymous, byteCount: max(unit, 2 << 20))
            let outcome = try fault.copy(
                UnsafeRawBufferPointer(rebasing: zeros.bytes[..<unit]), to: UnsafeRawPointer(address))
            if outcome != .alreadyThere { return }
        }
        try fault.wake(address, byteCount: unit)
    }

    public func makeInstaller() throws -> any PageInstaller { try UserFaultInstaller(memory: self) }

    public func finish() {
        standIns.release()
        raised.withLock { $0.release() }
        for block in blocks {
            try? fault.unregister(block.block.hostAddress, byteCount: block.block.byteCount)
            try? block.block.allowHugePages(true)
        }
    }
}
