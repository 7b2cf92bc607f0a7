internal import Migration
internal import MigrationStream
internal import QMP
internal import Synchronization

/// The machine as the migration engine sees it: everything is the machine's own, but the run state is changed by the
/// state driver, as every change is.
final class StateDrivenMachine: MigratableMachine {
    private let machine: any MigratableMachine
    private let driver: StateDriver
    /// What the guest was before the switchover.
    private let stateBefore = Mutex<RunState?>(nil)
    /// Whether the machine waits for a guest.
    private let isDestination: Bool

    init(_ machine: any MigratableMachine, driver: StateDriver, isDestination: Bool) {
        self.machine = machine
        self.driver = driver
        self.isDestination = isDestination
    }

    var machineName: String { machine.machineName }
    var uuid: MachineUUID { machine.uuid }
    var regions: [MemoryRegion] { machine.regions }
    var disks: [any MigratableDisk] { machine.disks }

    func startDirtyTracking() throws -> Bool { try machine.startDirtyTracking() }
    func stopDirtyTracking() { machine.stopDirtyTracking() }
    func readDirtyLog(of index: Int, into words: inout [UInt64]) throws {
        try machine.readDirtyLog(of: index, into: &words)
    }
    func clearDirtyLog(of index: Int, firstWord: Int, words: [UInt64]) throws {
        try machine.clearDirtyLog(of: index, firstWord: firstWord, words: words)
    }
    func dirtiedPageCounts() -> [Int] { machine.dirtiedPageCounts() }
    func heldTimes() -> [Duration] { machine.heldTimes() }
    var dirtyRingPageCount: Int? { machine.dirtyRingPageCount }
    func setThrottle(_ throttle: GuestThrottle) { machine.setThrottle(throttle) }
    func saveDeviceState(_ part: DevicePart, wasRunning: Bool, _ receive: (DeviceSection) throws -> Void) throws {
        try machine.saveDeviceState(part, wasRunning: wasRunning, receive)
    }
    func pagesNeededFirst() throws -> [RegionPages] { try machine.pagesNeededFirst() }
    func checkSection(_ header: SectionHeader) throws { try machine.checkSection(header) }
    func loadDeviceState(_ section: DeviceSection) throws { try machine.loadDeviceState(section) }
    func finishLoading() throws -> Bool { try machine.finishLoading() }
    func rehearseSaving() throws -> [DeviceSection]? { try machine.rehearseSaving() }
    func rehearseLoading(_ sections: [DeviceSection]) throws {
        try machine.rehearseLoading(sections)
    }
    func describe() throws -> MachineDescription? { try machine.describe() }
    func announce() { machine.announce() }
    func makeMissingMemory() throws -> any MissingMemory { try machine.makeMissingMemory() }

    func pause(_ guest: consuming RunningGuest) -> GuestTransition {
        do {
            let before = try driver.beginSwitchover()
            stateBefore.withLock { $0 = before }
            return GuestTransition(.paused(PausedGuest()))
        } catch { return GuestTransition(.running(guest), error: error) }
    }

    func resume(_ guest: consuming PausedGuest) -> GuestTransition {
        do {
            if isDestination {
                try driver.arrive(from: .running)
            } else {
                let before = stateBefore.withLock { $0 } ?? .running
                try driver.undoSwitchover(to: before)
            }
            return GuestTransition(.running(RunningGuest()))
        } catch { return GuestTransition(.paused(guest), error: error) }
    }
}
