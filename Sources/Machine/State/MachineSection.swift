public import MigrationStream

/// A section of device state as it stands in the stream, with its description.
public struct MachineSection: Sendable {
    /// The name with the bus prefix: "cpu", "virtio-mmio@00000000feb00e00/virtio-blk".
    public let name: String
    public let instance: Int
    public let state: SavedState

    init(_ name: String, instance: Int = 0, _ state: SavedState) {
        self.name = name
        self.instance = instance
        self.state = state
    }

    init<State: DeviceState>(_ state: State, instance: Int = 0) {
        self.init(State.vmsdName, instance: instance, state.save())
    }
}

/// Why sections do not make a machine.
public enum MachineLoadError: Error, Equatable, CustomStringConvertible {
    case unknownSection(name: String, instance: Int)
    case unsupportedVersion(name: String, found: Int, newest: Int)
    /// Sections without which the guest cannot go on.
    case missingSections([String])
    case cpuCount(here: Int, there: Int)

    public var description: String {
        switch self {
        case .unknownSection(let name, let instance):
            "The stream has a device \(name) (instance \(instance)) that this machine does not have."
        case .unsupportedVersion(let name, let found, let newest):
            "The state of \(name) has version \(found) in the stream; \(newest) is the newest known here."
        case .missingSections(let names):
            "The stream ended without the state of \(names.joined(separator: ", "))."
        case .cpuCount(let here, let there): "The machine has \(here) virtual CPUs here and \(there) in the stream."
        }
    }
}

/// What has come in of a machine's sections, before it is all put in force at once.
struct LoadedSections: Sendable {
    /// A section of a virtual CPU without which it cannot run.
    struct CPUSection: Hashable, CustomStringConvertible {
        enum Kind: String, CaseIterable { case cpu, apic }

        var kind: Kind
        var index: Int

        var description: String { "\(kind.rawValue) \(index)" }

        static func all(of index: Int) -> [CPUSection] { Kind.allCases.map { CPUSection(kind: $0, index: index) } }
    }

    var timer: TimerState?
    var cpus: [Int: VirtualCPUState] = [:]
    /// Those that have come.
    var cpuSections: Set<CPUSection> = []
    /// Whether the CPUs were put in force.
    var hasCPUs = false
    var ioAPIC: MigrationStream::IOAPICState?
    var primaryPIC: PICState?
    var secondaryPIC: PICState?
    var intervalTimer: PITState?
    var kvmClock: KVMClockState?
    var global: GlobalState?
    /// Devices whose section has come, by name.
    var devices: Set<String> = []
}
