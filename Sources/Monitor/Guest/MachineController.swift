public import Devices
internal import LinuxSystem
public import Machine
internal import Synchronization

/// The machine as the monitor steers it, and the guest's own wishes as events.
public final class MachineController: MachineControl, MachineObserver {
    /// What the guest did that its owner must react to.
    public enum Notice: Sendable {
        case guestAsks(SystemEvent)
        case failed(VirtualCPUFailure)
    }

    private let machine: Machine
    private let disks: @Sendable () -> [BlockDeviceInformation]
    private let handler = Mutex<(@Sendable (Notice) -> Void)?>(nil)

    /// - Parameter disks: what `query-block` tells now, in the order of the configuration.
    public init(_ machine: Machine, disks: @escaping @Sendable () -> [BlockDeviceInformation] = { [] }) {
        self.machine = machine
        self.disks = disks
        machine.setObserver(self)
    }

    /// Sets what hears of notices. Called on any thread; must not block.
    public func onNotice(_ handler: @escaping @Sendable (Notice) -> Void) { self.handler.withLock { $0 = handler } }

    public func pause() throws { try machine.pause() }
    public func prepareToResume() throws { try machine.prepareToResume() }
    public func resume() { machine.resumePrepared() }
    public func reset() throws { try machine.reset() }
    public func pressPowerButton() throws { machine.events.pressPowerButton() }

    public func virtualCPUs() async -> [VirtualCPUInformation] {
        machine.virtualCPUThreadIDs.enumerated().map { VirtualCPUInformation(index: $0, threadID: Int($1)) }
    }

    public func blockDevices() async -> [BlockDeviceInformation] { disks() }

    public func setBalloon(byteCount: Int) async -> Bool {
        guard let balloon = machine.balloon else { return false }
        balloon.setTarget(byteCount: byteCount)
        return true
    }

    public func balloonByteCount() async -> Int? {
        machine.balloon.map { machine.configuration.ramByteCount - $0.inflatedByteCount }
    }

    public func machine(_ machine: Machine, guestAsksFor event: SystemEvent) { notify(.guestAsks(event)) }
    public func machine(_ machine: Machine, failed failure: VirtualCPUFailure) { notify(.failed(failure)) }

    private func notify(_ notice: Notice) { handler.withLock { $0 }?(notice) }
}
