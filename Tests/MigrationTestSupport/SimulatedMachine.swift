internal import GuestMemory
internal import LinuxSystem
public import Migration
public import MigrationStream

/// A machine without a processor: a guest that writes random pages at random times, its memory, a dirty log that
/// behaves like the kernel's, and disks.
public final class SimulatedMachine: MigratableMachine, @unchecked Sendable {
    // Safe: only the thread whose turn it is touches it.
    public let name: String
    public var machineName = "microvm"
    public var uuid = MachineUUID.none
    public let regions: [MemoryRegion]
    private var ownDisks: [any MigratableDisk] = []
    /// Those that were set, and the locks of memory that was handed over.
    public var disks: [any MigratableDisk] {
        get { ownDisks + regions.compactMap { $0.block.lock } }
        set { ownDisks = newValue }
    }
    let simulation: Simulation
    /// Which pages are missing here, in post-copy.
    public private(set) var missing: SimulatedMissingMemory?
    /// Where this guest comes from: what it finds is held against that, page by page.
    public weak var origin: SimulatedMachine?
    /// Pages in a unit of the first region: what stands for a huge page.
    public let unitPageCount: Int
    public private(set) var isRunning = false
    public private(set) var throttle = GuestThrottle.none
    public private(set) var isTracking = false
    /// Pages that the guest writes in each step, at most.
    public var writesPerStep = 0
    /// The pages that it prefers, as a part of all.
    public var hotPageCount = 8
    private var log: [[UInt64]]
    private var device: [UInt8] = []
    private var loadedDevice: [UInt8]?
    private var wasRunning = false
    private var version: UInt64 = 1
    /// Called when the guest begins to run here.
    public var onResume: (() -> Void)?
    /// Called when all devices are loaded.
    public var beforeFinish: (() -> Void)?
    /// The n-th save, load or pause from now on that fails.
    public var failingSave: Int?
    public var failingLoad: Int?
    public var failingPause: Int?

    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    /// - Parameter sharesMemory: The first block is a memfd.
    public init(
        name: String, simulation: Simulation, pageCounts: [Int], unitPageCount: Int = 1, sharesMemory: Bool = false
    ) throws {
        self.name = name
        self.simulation = simulation
        self.unitPageCount = unitPageCount
        regions = try pageCounts.enumerated().map { index, pageCount in
            MemoryRegion(
                block: RAMBlock(
                    name: "block\(index)",
                    mapping: try MemoryMapping(
                        sharesMemory && index == 0 ? .shared : .anonymousSmallPages, byteCount: pageCount * pageSize)),
                beginsAsZero: true, unitPageCount: index == 0 ? unitPageCount : 1)
        }
        log = regions.map { [UInt64](repeating: 0, count: $0.block.dirtyBitmap.wordCount) }
    }

    /// Starts the guest for the first time, with some memory written.
    public func boot() -> GuestRight {
        device = (0..<40).map { _ in UInt8.random(in: 0...255, using: &simulation.random) }
        for _ in 0..<regions[0].block.pageCount / 2 { writeRandomPage() }
        isRunning = true
        step()
        return .running(RunningGuest())
    }

    // MARK: The guest

    private func step() {
        guard isRunning else { return }
        let isSlow =
            switch throttle {
            case .none: false
            case .percentage(let percentage): simulation.random.happens(percent: percentage)
            case .stun, .dirtyLimit: simulation.random.happens(percent: 90)
            }
        missing?.goOn()
        if !isSlow { writeSome() }
        simulation.after(.microseconds(Int.random(in: 100...3000, using: &simulation.random))) { [weak self] in
            self?.step()
        }
    }

    /// The guest may do something at any moment; called where the engine could be interrupted.
    private func writeSome() {
        guard isRunning, writesPerStep > 0 else { return }
        for _ in 0..<Int.random(in: 0...writesPerStep, using: &simulation.random) { writeRandomPage() }
    }

    private func writeRandomPage() {
        let region = Int.random(in: regions.indices, using: &simulation.random)
        let block = regions[region].block
        let isHot = simulation.random.happens(percent: 70)
        let page = Int.random(
            in: 0..<(isHot ? min(hotPageCount, block.pageCount) : block.pageCount), using: &simulation.random)
        if let missing, !missing.mayTouch(region: region, page: page) { return }
        write(region: region, page: page)
    }

    /// Writes a page that is there.
    func write(region: Int, page: Int) {
        let block = regions[region].block
        version += 1
        let offset = page * pageSize
        let kind = Int.random(in: 0..<10, using: &simulation.random)
        if kind == 0 {
            block.bytes(at: offset, count: pageSize).initializeMemory(as: UInt8.self, repeating: 0)
        } else {
            // A few words at either end, so that a page sent half before and half after shows.
            let bytes = block.bytes(at: offset, count: pageSize)
            bytes.storeBytes(of: version, toByteOffset: 0, as: UInt64.self)
            bytes.storeBytes(of: version, toByteOffset: pageSize - 8, as: UInt64.self)
        }
        if kind < 8 {
            log[region][page >> 6] |= 1 << UInt64(page & 63)
        } else {
            // A device wrote it: the kernel does not know.
            block.markDirty(at: offset, byteCount: pageSize)
        }
    }

    /// A fingerprint of memory and devices.
    public var checksum: UInt64 {
        var sum: UInt64 = 14_695_981_039_346_656_037
        for region in regions {
            // Pages are written at their ends, or all zero: three words tell them apart.
            for page in 0..<region.block.pageCount {
                let bytes = region.block.bytes(at: page * pageSize, count: pageSize)
                for offset in [0, pageSize / 2, pageSize - 8] {
                    sum = (sum ^ bytes.load(fromByteOffset: offset, as: UInt64.self)) &* 1_099_511_628_211
                }
            }
        }
        for byte in loadedDevice ?? device { sum = (sum ^ UInt64(byte)) &* 1_099_511_628_211 }
        return sum
    }

    // MARK: Dirty pages

    public func startDirtyTracking() throws -> Bool {
        isTracking = true
        let beginsSet = simulation.random.happens(percent: 50)
        for index in log.indices {
            for word in log[index].indices { log[index][word] = beginsSet ? ~0 : 0 }
        }
        writeSome()
        return beginsSet
    }

    public func stopDirtyTracking() { isTracking = false }

    public func readDirtyLog(of index: Int, into words: inout [UInt64]) throws {
        writeSome()
        for word in words.indices { words[word] = log[index][word] }
        writeSome()
    }

    public func clearDirtyLog(of index: Int, firstWord: Int, words: [UInt64]) throws {
        writeSome()
        for (offset, bits) in words.enumerated() { log[index][firstWord + offset] &= ~bits }
        writeSome()
    }

    public func dirtiedPageCounts() -> [Int] { [] }
    public func setThrottle(_ throttle: GuestThrottle) { self.throttle = throttle }

    // MARK: Running

    public func pause(_ guest: consuming RunningGuest) -> GuestTransition {
        if fails(&failingPause) { return GuestTransition(.running(guest), error: Failure(description: "no pause")) }
        writeSome()
        isRunning = false
        return GuestTransition(.paused(PausedGuest()))
    }

    public func resume(_ guest: consuming PausedGuest) -> GuestTransition {
        precondition(!isRunning, "\(name) runs already")
        isRunning = true
        if let loadedDevice { device = loadedDevice }
        onResume?()
        step()
        return GuestTransition(.running(RunningGuest()))
    }

    // MARK: Devices

    public func saveDeviceState(
        _ part: DevicePart, wasRunning: Bool, _ receive: (DeviceSection) throws -> Void
    ) throws {
        let section =
            switch part {
            case .processors: DeviceSection(name: "sim/device", version: 3, state: device)
            case .others: DeviceSection(name: "sim/run", version: 1, state: [wasRunning ? 1 : 0])
            }
        if fails(&failingSave) { throw Failure(description: "device \(section.name) cannot be saved") }
        try receive(section)
    }

    /// Every seventh page of the first region.
    public func pagesNeededFirst() throws -> [RegionPages] {
        stride(from: 0, to: regions[0].block.pageCount, by: 7).prefix(5).map {
            RegionPages(region: 0, range: PageRange(first: PageIndex($0), pageCount: 1))
        }
    }

    public func checkSection(_ header: SectionHeader) throws {
        guard header.name.hasPrefix("sim/") else { throw Failure(description: "no device \(header.name)") }
    }

    public func loadDeviceState(_ section: DeviceSection) throws {
        if fails(&failingLoad) { throw Failure(description: "device \(section.name) cannot be loaded") }
        // A device looks into guest memory when it is loaded, and waits if the page is not there.
        missing?.waitForSomePage()
        if section.name == "sim/device" { loadedDevice = section.state } else { wasRunning = section.state == [1] }
    }

    public func finishLoading() throws -> Bool {
        beforeFinish?()
        guard loadedDevice != nil else { throw Failure(description: "device sim/device is missing") }
        return wasRunning
    }

    public func announce() {}

    /// What it says that it is, if it does.
    public var description: MachineDescription?
    public func describe() throws -> MachineDescription? { description }

    public func makeMissingMemory() throws -> any MissingMemory {
        let missing = SimulatedMissingMemory(machine: self)
        self.missing = missing
        return missing
    }

    /// How many pages differ from those that the guest came with, as far as it has not written them here.
    public func differenceCount(from source: SimulatedMachine) -> Int {
        var count = missing?.mismatchCount ?? 0
        for (index, region) in regions.enumerated() {
            for page in 0..<region.block.pageCount where missing?.wasTouched(region: index, page: page) != true {
                if !isEqual(region: index, page: page, in: source) { count += 1 }
            }
        }
        return loadedDevice == source.device ? count : count + 1
    }

    func isEqual(region: Int, page: Int, in other: SimulatedMachine) -> Bool {
        let here = regions[region].block.bytes(at: page * pageSize, count: pageSize)
        let there = other.regions[region].block.bytes(at: page * pageSize, count: pageSize)
        return [0, pageSize / 2, pageSize - 8].allSatisfy {
            here.load(fromByteOffset: $0, as: UInt64.self) == there.load(fromByteOffset: $0, as: UInt64.self)
        }
    }

    private func fails(_ count: inout Int?) -> Bool {
        guard let left = count else { return false }
        count = left - 1
        return left == 0
    }
}

/// Who holds a disk's lock: what the kernel knows of it on the shared storage.
public final class SharedLock: @unchecked Sendable {
    // Safe: only the thread whose turn it is touches it.
    public var owner: String?
    public init(owner: String?) { self.owner = owner }
}

/// One side's view of a disk.
public final class SimulatedDisk: MigratableDisk, @unchecked Sendable {
    public let name: String
    private let side: String
    public let lock: SharedLock
    /// The n-th attempt to take the lock fails.
    public var failingTake: Int?
    public var beforeTake: (() -> Void)?
    public var afterTake: (() -> Void)?

    public init(name: String, side: String, lock: SharedLock) {
        self.name = name
        self.side = side
        self.lock = lock
    }

    public func releaseLock() throws {
        precondition(lock.owner == side, "\(side) gives up a lock of \(lock.owner ?? "nobody")")
        lock.owner = nil
    }

    public func takeLock() throws {
        beforeTake?()
        if let left = failingTake {
            failingTake = left - 1
            if left == 0 { throw SimulatedMachine.Failure(description: "the lock is refused") }
        }
        guard lock.owner == nil || lock.owner == side else {
            throw SimulatedMachine.Failure(description: "the lock is held by \(lock.owner ?? "")")
        }
        lock.owner = side
        afterTake?()
    }
}
