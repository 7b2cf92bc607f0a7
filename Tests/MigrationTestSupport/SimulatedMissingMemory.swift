public import GuestMemory
internal import LinuxSystem
public import Migration

/// Memory of a simulated machine of which pages are missing.
///
/// Its guest has two virtual CPUs and a device, each of which stands still when it touches a page that is not there.
/// Whatever it touches first is held against the source's page; a page that is put into place twice ends the test.
public final class SimulatedMissingMemory: MissingMemory, @unchecked Sendable {
    // Safe: only the thread whose turn it is touches it.
    public let method = InstallMethod.simulated
    public let virtualCPUCount = 2
    private unowned let machine: SimulatedMachine
    private let simulation: Simulation
    private var isThere: [[Bool]]
    private var touched: [[Bool]]
    private var isListening = false
    private var hasListened = false
    private var isEnded = false
    private var faults: [MissingPageFault] = []
    /// What each virtual CPU, and the device behind them, waits for.
    private var waiting: [(region: Int, page: Int)?] = [nil, nil, nil]
    private let faultKey = Simulation.Key()
    private let pageKey = Simulation.Key()
    /// Pages that were not what the source has when the guest touched them first.
    public private(set) var mismatchCount = 0
    public private(set) var installedPageCount = 0

    init(machine: SimulatedMachine) {
        self.machine = machine
        simulation = machine.simulation
        isThere = machine.regions.map { [Bool](repeating: true, count: $0.block.pageCount) }
        touched = machine.regions.map { [Bool](repeating: false, count: $0.block.pageCount) }
    }

    public func unitPageCount(of region: Int) -> Int { machine.regions[region].unitPageCount }

    public func chunkPageCount(of region: Int) -> Int {
        let unit = unitPageCount(of: region)
        // Either of what the real memory has.
        return unit > 1 ? unit : simulation.seed % 2 == 0 ? 512 : 64
    }

    public func forget(region: Int, _ range: PageRange) throws {
        precondition(!isListening, "seed \(simulation.seed): pages are dropped that the guest may use")
        for page in range.first.value..<range.end.value { isThere[region][page] = false }
        machine.regions[region].block.bytes(at: range.blockOffset, count: range.byteCount)
            .initializeMemory(as: UInt8.self, repeating: 0)
    }

    public func listen() throws {
        // As in a real memory, a page is there again when something was written to it since it was dropped.
        for (region, place) in machine.regions.enumerated() {
            for page in 0..<place.block.pageCount where !isThere[region][page] {
                isThere[region][page] = place.block.bytes(at: page * pageSize, count: pageSize).contains { $0 != 0 }
            }
        }
        isListening = true
        hasListened = true
    }

    public func waitForFaults() throws -> [MissingPageFault] {
        while faults.isEmpty && !isEnded { simulation.wait(for: faultKey) }
        if isEnded { return [] }
        let taken = faults
        faults = []
        return taken
    }

    public func virtualCPU(of fault: MissingPageFault) -> Int? {
        (0..<virtualCPUCount).contains(Int(fault.waiter)) ? Int(fault.waiter) : nil
    }

    public func endFaults() {
        isEnded = true
        simulation.wake(faultKey)
    }

    public func resolve(region: Int, page: Int) throws {
        // A page that was received as zero before anybody touched it is there from now on.
        isThere[region][page] = true
        simulation.wake(pageKey)
    }

    public func makeInstaller() throws -> any PageInstaller { SimulatedInstaller(memory: self) }

    public func finish() {
        isListening = false
        simulation.wake(pageKey)
    }

    // MARK: Installing

    func install(region: Int, _ range: PageRange, _ bytes: UnsafeRawBufferPointer?) {
        // A link that was lost before the guest could run here: nothing of it will be used.
        if !isListening { return }
        let target = machine.regions[region].block.bytes(at: range.blockOffset, count: range.byteCount)
        for page in range.first.value..<range.end.value {
            precondition(!isThere[region][page], "seed \(simulation.seed): page \(page) is put into place twice")
            isThere[region][page] = true
        }
        installedPageCount += range.pageCount
        if let bytes {
            target.copyMemory(from: bytes)
        } else {
            target.initializeMemory(as: UInt8.self, repeating: 0)
        }
        simulation.wake(pageKey)
    }

    // MARK: The guest

    /// Whether the guest can go on after touching this page; if not, one of those who run in it waits from now on.
    func mayTouch(region: Int, page: Int) -> Bool {
        guard hasListened else { return true }
        guard isThere[region][page] || !isListening else {
            let who = Int.random(in: 0..<waiting.count, using: &simulation.random)
            if waiting[who] == nil {
                waiting[who] = (region, page)
                tell(region: region, page: page, who: who)
            }
            return false
        }
        look(region: region, page: page)
        return true
    }

    /// Lets those write who waited for a page that has come.
    func goOn() {
        for (who, place) in waiting.enumerated() {
            guard let place, isThere[place.region][place.page] else { continue }
            waiting[who] = nil
            look(region: place.region, page: place.page)
            machine.write(region: place.region, page: place.page)
        }
    }

    /// A fault, which the kernel may tell of more than once.
    private func tell(region: Int, page: Int, who: Int) {
        let fault = MissingPageFault(region: region, page: page, waiter: Int32(who))
        faults.append(fault)
        if simulation.random.happens(percent: 20) { faults.append(fault) }
        simulation.wake(faultKey)
    }

    private func look(region: Int, page: Int) {
        if touched[region][page] { return }
        touched[region][page] = true
        if let origin = machine.origin, !machine.isEqual(region: region, page: page, in: origin) { mismatchCount += 1 }
    }

    func wasTouched(region: Int, page: Int) -> Bool { touched[region][page] }

    /// Whether somebody waits.
    public var hasWaiters: Bool { waiting.contains { $0 != nil } }

    /// Touches a page on a thread of the monitor, and waits until it is there.
    func waitForSomePage() {
        guard isListening else { return }
        let page = Int.random(in: 0..<machine.regions[0].block.pageCount, using: &simulation.random)
        if isThere[0][page] { return }
        faults.append(MissingPageFault(region: 0, page: page, waiter: -1))
        simulation.wake(faultKey)
        while !isThere[0][page] && isListening { simulation.wait(for: pageKey) }
    }
}

/// Puts pages into place that were staged in a buffer.
private final class SimulatedInstaller: PageInstaller, @unchecked Sendable {
    // Safe: only the thread whose turn it is touches it.
    private let memory: SimulatedMissingMemory
    private let staging = UnsafeMutableRawBufferPointer.allocate(byteCount: 512 * 4096, alignment: 4096)

    init(memory: SimulatedMissingMemory) { self.memory = memory }

    deinit { staging.deallocate() }

    private func place(_ range: PageRange) -> UnsafeMutableRawBufferPointer {
        let start = range.blockOffset % staging.count
        return UnsafeMutableRawBufferPointer(rebasing: staging[start..<start + range.byteCount])
    }

    func hasOwnRoom(region: Int) -> Bool { true }

    func room(region: Int, _ range: PageRange, isWhole: Bool) throws -> UnsafeMutableRawBufferPointer { place(range) }

    func install(region: Int, _ range: PageRange) throws {
        memory.install(region: region, range, UnsafeRawBufferPointer(place(range)))
    }

    func installZeros(region: Int, _ range: PageRange) throws { memory.install(region: region, range, nil) }
}
