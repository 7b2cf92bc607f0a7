public import MigrationStream
internal import Synchronization

/// What a virtio device does, apart from how the guest reaches it.
///
/// The transport owns the registers, the `QueueServer` the queues and a thread on which `serve` is called. A device
/// guards its own state: `serve`, `driverIsReady` and `resetDevice` come one at a time, the configuration space is read
/// on virtual CPU threads at any time.
public protocol VirtioDevice: AnyObject, Sendable {
    /// As in QEMU's section names: "virtio-blk".
    var name: String { get }
    /// The device type of the specification.
    var deviceID: UInt32 { get }
    /// The largest size of each queue, a power of two each.
    var queueSizes: [UInt16] { get }
    /// The feature bits of this type of device that are offered; the bits of the rings come on top.
    var features: UInt64 { get }
    /// How to reach the server, once there is one.
    var link: VirtioLink { get }

    /// The configuration space as the driver sees it now.
    var configuration: [UInt8] { get }
    /// The driver wrote to its configuration space, `bytes` being 1, 2 or 4, inside it.
    func writeConfiguration(_ bytes: [UInt8], at offset: Int)

    /// The driver has set DRIVER_OK, having accepted `features`. Requests follow.
    func driverIsReady(features: UInt64)
    /// Serves what there is. Called again when the driver notifies, so it may leave requests where they are.
    func serve(_ event: VirtioEvent, _ queues: inout VirtioQueues) throws(VirtioError)
    /// Forgets what a driver set up.
    func resetDevice()

    /// A descriptor of the host's side that is served when it becomes readable (`VirtioEvent.host`).
    var hostDescriptor: Int32? { get }

    /// The section of this type of device.
    associatedtype State: VirtioDeviceState
    /// Sets the device's own part of a state that is about to be saved.
    func save(into state: inout State)
    /// Takes over the device's own part of a loaded state. Nothing is served meanwhile.
    ///
    /// - Throws: `DeviceError` if the state contradicts the configuration.
    func load(_ state: State) throws
}

/// A section of the stream that begins with what all virtio devices have in common.
public protocol VirtioDeviceState: DeviceState {
    var virtio: VirtioState { get set }
}

extension VirtioBlockState: VirtioDeviceState {}
extension VirtioNetState: VirtioDeviceState {}
extension VirtioConsoleState: VirtioDeviceState {}
extension VirtioEntropyState: VirtioDeviceState {}
extension VirtioBalloonState: VirtioDeviceState {}

extension VirtioDevice {
    var sectionName: String { State.vmsdName }
    var sectionVersion: Int { State.currentVersion }

    /// The whole section, with the transport's part `virtio`.
    func saveSection(_ virtio: VirtioState) -> SavedState {
        var state = State()
        state.virtio = virtio
        save(into: &state)
        return state.save()
    }

    /// Decodes a section, hands the transport's part to `loadTransport`, then takes over the device's own part.
    func loadSection(_ section: ReceivedState, _ loadTransport: (VirtioState) throws -> Void) throws {
        let state: State = try section.state()
        try loadTransport(state.virtio)
        try load(state)
    }
}

/// Why a device is served.
public enum VirtioEvent: Equatable, Sendable {
    /// The driver notified this queue, or may have.
    case queue(Int)
    /// The host descriptor is readable, or the device asked to be served.
    case host
}

/// Feature bits that belong to the rings and the transport, not to a type of device.
public enum VirtioFeature {
    public static let notifyOnEmpty: UInt64 = 1 << 24
    public static let anyLayout: UInt64 = 1 << 27
    public static let indirectDescriptors: UInt64 = 1 << 28
    public static let eventIndex: UInt64 = 1 << 29
    public static let version1: UInt64 = 1 << 32

    /// What every device offers: QEMU's set for a modern virtio-mmio device but the reset of single queues (bit 40),
    /// which no driver takes over virtio-mmio.
    public static let common = notifyOnEmpty | anyLayout | indirectDescriptors | eventIndex | version1
}

/// A device's way back to its server: to be served, or to tell the driver of a changed configuration.
public final class VirtioLink: Sendable {
    private struct Weak: Sendable { weak let server: QueueServer? }
    private let server = Mutex<Weak>(Weak(server: nil))

    public init() {}

    func connect(to server: QueueServer) { self.server.withLock { $0 = Weak(server: server) } }

    /// Has the device served with `VirtioEvent.host` soon.
    func requestService() { server.withLock { $0.server }?.requestService() }

    /// Tells the driver that the configuration space has changed.
    func configurationChanged() { server.withLock { $0.server }?.interrupt.raise(.configuration) }
}
