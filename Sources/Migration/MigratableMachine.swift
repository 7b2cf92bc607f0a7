public import GuestMemory
public import MigrationStream

/// What the engine needs of a machine: its memory, its dirty pages, its run right and its device state.
///
/// The engine knows neither KVM nor devices. Every function is called on a data thread and may block; unless it says
/// otherwise, by the one thread that runs the migration.
public protocol MigratableMachine: AnyObject, Sendable {
    /// The machine type as the configuration section names it: "microvm".
    var machineName: String { get }
    /// The UUID, `.none` if the machine has none.
    var uuid: MachineUUID { get }
    /// The memory that moves, in the order of the block list. The same list throughout a migration.
    var regions: [MemoryRegion] { get }
    /// The disks whose locks are handed over, and the locks of memory that was handed over itself (`RAMBlock.lock`).
    var disks: [any MigratableDisk] { get }

    // Dirty pages. The log is the kernel's, or behaves like it: a bit that was reported stays set until it is cleared,
    // and only a page that was cleared is reported again. What devices write is marked in the blocks' own bitmaps.

    /// Begins to log writes. True if the log begins with every page set, false if with none.
    func startDirtyTracking() throws -> Bool
    /// Ends logging. Called whatever became of the migration, also if `startDirtyTracking` failed.
    func stopDirtyTracking()
    /// Copies the log of region `index` to `words`: 64 pages a word, lowest bit first, and no bit cleared.
    func readDirtyLog(of index: Int, into words: inout [UInt64]) throws
    /// Clears the given bits of the log from word `firstWord` on; writes to these pages are reported again.
    ///
    /// Several threads may call it at once, for different words.
    func clearDirtyLog(of index: Int, firstWord: Int, words: [UInt64]) throws
    /// How many pages each virtual CPU has dirtied since tracking began; empty if nobody counts.
    func dirtiedPageCounts() -> [Int]
    /// How long each virtual CPU has been held by a dirty limit or the stun; empty if nobody counts.
    func heldTimes() -> [Duration]
    /// Pages that the dirty ring of a virtual CPU holds, nil without rings.
    var dirtyRingPageCount: Int? { get }
    /// Slows the guest down, or with `.none` no longer.
    func setThrottle(_ throttle: GuestThrottle)

    /// Stops all virtual CPUs and drains devices: afterwards nothing writes guest memory or disks.
    func pause(_ guest: consuming RunningGuest) -> GuestTransition
    /// Lets the virtual CPUs run.
    func resume(_ guest: consuming PausedGuest) -> GuestTransition

    /// The state of some devices while the guest is paused, in the order of the stream.
    ///
    /// - Parameters:
    ///   - wasRunning: What the guest is to be at the destination.
    ///   - receive: Called with each section as soon as it is there.
    func saveDeviceState(_ part: DevicePart, wasRunning: Bool, _ receive: (DeviceSection) throws -> Void) throws
    /// Of a paused guest: pages that the destination needs to load the devices and to run the guest's first instructions,
    /// the most urgent first. Sent in a post-copy while the devices are loaded, which else begins with waiting for them.
    func pagesNeededFirst() throws -> [RegionPages]
    /// Says whether a section can be loaded, before its contents are read.
    ///
    /// - Throws: An error that names the section, if there is no such device or its version is not known.
    func checkSection(_ header: SectionHeader) throws
    /// Loads the state of one device. The guest is paused.
    func loadDeviceState(_ section: DeviceSection) throws
    /// Ends loading. Whether the guest was running at the source.
    ///
    /// - Throws: An error that names what is missing or does not fit together.
    func finishLoading() throws -> Bool
    /// Goes through saving, as far as that can be done while the guest runs; what would be saved, nil if nothing.
    func rehearseSaving() throws -> [DeviceSection]?
    /// Goes through loading what `rehearseSaving` of this machine gave, which has not run: it stays as it is.
    func rehearseLoading(_ sections: [DeviceSection]) throws
    /// Tells the network that the guest is here now. Must not block.
    func announce()

    /// What the machines of both sides must have in common, nil if nobody knows. May be called while the guest runs.
    func describe() throws -> MachineDescription?

    /// Makes ready to receive in post-copy.
    ///
    /// - Throws: An error that says what is in the way, and what to do about it.
    func makeMissingMemory() throws -> any MissingMemory
}

extension MigratableMachine {
    public func describe() throws -> MachineDescription? { nil }
    public func heldTimes() -> [Duration] { [] }
    public func rehearseSaving() throws -> [DeviceSection]? { nil }
    public func rehearseLoading(_ sections: [DeviceSection]) throws {}
    public var dirtyRingPageCount: Int? { nil }

    public func makeMissingMemory() throws -> any MissingMemory {
        throw MigrationError.postcopyImpossible("This machine cannot receive in post-copy.")
    }
}

/// Memory that a migration moves while the guest writes to it.
///
/// The engine sees a region as a row of pages with a dirty bitmap; a disk that is moved the same way can become one.
public struct MemoryRegion: Sendable {
    /// Its name, bytes and dirty pages.
    public let block: RAMBlock
    /// Whether every byte is zero in a machine that has not run: pages received as zero then need no write.
    public let beginsAsZero: Bool
    /// Whether a stream may leave it out, or hold less of it: memory of a peer's firmware.
    public let isOptional: Bool
    /// Pages move together in units of this many: 1, or those of a huge page.
    public let unitPageCount: Int

    public init(block: RAMBlock, beginsAsZero: Bool, isOptional: Bool = false, unitPageCount: Int = 1) {
        self.block = block
        self.beginsAsZero = beginsAsZero
        self.isOptional = isOptional
        self.unitPageCount = unitPageCount
    }
}

/// Pages of one of a machine's regions, by its place in `MigratableMachine.regions`.
public struct RegionPages: Hashable, Sendable {
    public var region: Int
    public var range: PageRange

    public init(region: Int, range: PageRange) {
        self.region = region
        self.range = range
    }
}

/// The state of one device as a section of the stream holds it.
public struct DeviceSection: Sendable {
    public var name: String
    public var instance: UInt32
    public var version: UInt32
    /// The fields and subsections, as they are on the wire. Empty of one that has come and was decoded.
    public var state: [UInt8]
    /// The device's fields, of one that has come and whose layout the stream's decoder knows.
    public var decoded: (any DeviceState)?
    /// Makes what the description at the stream's end says of it. It takes several times as long as the state itself.
    public var describe: (@Sendable () -> StructureDescription)?

    public init(
        name: String, instance: UInt32 = 0, version: UInt32, state: [UInt8], decoded: (any DeviceState)? = nil,
        describe: (@Sendable () -> StructureDescription)? = nil
    ) {
        self.name = name
        self.instance = instance
        self.version = version
        self.state = state
        self.decoded = decoded
        self.describe = describe
    }

    /// One that has come, whose state are those `bytes`.
    init(_ header: SectionHeader, _ bytes: UnsafeRawBufferPointer, decoded: (any DeviceState)?) {
        self.init(
            name: header.name, instance: header.instance, version: header.version,
            state: decoded == nil ? Array(bytes) : [], decoded: decoded)
    }
}

/// A part of the devices.
public enum DevicePart: CaseIterable, Sendable {
    /// The virtual CPUs and what belongs to them. They are sent before the last pages: a machine whose CPUs need memory
    /// to be put in force does that in `finishLoading`.
    case processors
    /// All others, whose state may lie in memory as well.
    case others
}

/// JSON, see qemu's analyze-migration; what stands at the end of a stream.
public func description(of sections: [DeviceSection]) -> String {
    let devices = sections.compactMap { section in
        section.describe.map {
            DeviceDescription(name: section.name, instanceID: Int(section.instance), structure: $0())
        }
    }
    return VMDescriptionWriter(VMDescription(pageSize: pageSize, devices: devices)).text
}

/// A disk, or memory, of which one side at a time may hold the lock.
///
/// After `releaseLock` nothing of the disk is cached here; before `takeLock` nothing was read.
public protocol MigratableDisk: AnyObject, Sendable {
    /// What messages call it.
    var name: String { get }
    /// What it is, for messages: "Disk".
    var kind: String { get }
    /// Writes everything out and gives the lock up.
    func releaseLock() throws
    /// Takes the lock.
    ///
    /// - Throws: An error that says who holds it, if another does.
    func takeLock() throws
}

extension MigratableDisk {
    public var kind: String { "Disk" }
}

/// Memory that two processes have: whoever lets the guest run has its lock, as with a disk.
extension MemoryLock: MigratableDisk {
    public var name: String { block }
    public var kind: String { "RAM block" }
    public func releaseLock() throws { try release() }
    public func takeLock() throws { try take() }
}
