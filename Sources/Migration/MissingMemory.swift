public import GuestMemory

/// Guest memory of a destination in post-copy: pages that are not there yet, who waits for them, and how they get there.
///
///     forget … -> listen -> (waitForFaults on a thread of its own | installers on others) … -> endFaults -> finish
///
/// Nothing here touches guest memory through the guest's own mapping, so nothing here can wait for a page.
public protocol MissingMemory: AnyObject, Sendable {
    /// How pages are put into place, for people.
    var method: InstallMethod { get }
    /// How many virtual CPUs the machine has.
    var virtualCPUCount: Int { get }
    /// The pages of `region` come and go in units of this many: 1, or those of a huge page.
    func unitPageCount(of region: Int) -> Int
    /// How many pages of `region` are best put into place together, if all of them are missing: a power of two up to 512,
    /// or a unit.
    func chunkPageCount(of region: Int) -> Int
    /// Drops pages, which are missing from then on. Before `listen`.
    func forget(region: Int, _ range: PageRange) throws
    /// From now on whoever touches a missing page waits, and `waitForFaults` tells of it.
    func listen() throws
    /// Waits until somebody touches a missing page; empty after `endFaults`.
    func waitForFaults() throws -> [MissingPageFault]
    /// The virtual CPU that waits for a page; nil if it is a thread of the monitor, or not known. Asked once for each
    /// fault.
    func virtualCPU(of fault: MissingPageFault) -> Int?
    /// Makes `waitForFaults` return nothing. Any thread.
    func endFaults()
    /// Lets those go on who wait for a page that has come, or that was never written because it is zero.
    func resolve(region: Int, page: Int) throws
    /// A way to put pages into place, for one thread at a time.
    func makeInstaller() throws -> any PageInstaller
    /// All pages are there: whoever touches one does not wait any more.
    func finish()
}

/// Puts pages into place. Used by one thread at a time.
public protocol PageInstaller: AnyObject, Sendable {
    /// Where the bytes of `range` go before `install`. The range lies in one chunk.
    ///
    /// The room of one chunk stays as it is until a page of another chunk is asked for or `install` was called for it.
    /// - Parameter isWhole: Whether all pages of the chunk are missing, and so are likely to come together.
    func room(region: Int, _ range: PageRange, isWhole: Bool) throws -> UnsafeMutableRawBufferPointer
    /// Whether the room for pages of `region` is memory of its own, in which anything may stand until `install`.
    func hasOwnRoom(region: Int) -> Bool
    /// Puts `range` into place, whose bytes are in its room, and wakes those who wait for them.
    func install(region: Int, _ range: PageRange) throws
    /// Puts zeros into place.
    func installZeros(region: Int, _ range: PageRange) throws
}

/// How pages are put into place.
public enum InstallMethod: String, Sendable {
    /// The kernel copies them (UFFDIO_COPY): any memory, any kernel.
    case copy
    /// They change their address (UFFDIO_MOVE): private memory, since Linux 6.8.
    case move
    /// They are written through a second view and then shown (UFFDIO_CONTINUE): shared memory.
    case makePresent = "continue"
    /// There is no kernel under the memory: a simulation.
    case simulated
}

/// Somebody waits for a page.
public struct MissingPageFault: Equatable, Sendable {
    public var region: Int
    /// The page in the region.
    public var page: Int
    /// Who waits, as the memory knows it.
    public var waiter: Int32

    public init(region: Int, page: Int, waiter: Int32) {
        self.region = region
        self.page = page
        self.waiter = waiter
    }
}
