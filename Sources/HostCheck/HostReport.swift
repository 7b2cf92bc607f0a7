/// Which guests this host can run.
public enum Ground: String, Codable, Comparable, Sendable {
    /// No usable /dev/kvm: only what needs no guest.
    case anywhere
    /// A KVM that emulates guest kernel code: the built-in guest runs, Linux does not boot.
    case smallGuests = "small-guests"
    /// A KVM that runs Linux.
    case linuxGuests = "linux-guests"

    public static func < (one: Ground, other: Ground) -> Bool { one.rank < other.rank }

    private var rank: Int {
        switch self {
        case .anywhere: 0
        case .smallGuests: 1
        case .linuxGuests: 2
        }
    }
}

/// What a host can do, all of it.
public struct HostReport: Codable, Equatable, Sendable {
    public let ground: Ground
    public let findings: [Finding]

    /// Whether nothing that running and moving guests needs is missing.
    public var isUsable: Bool { !findings.contains { $0.isEssential && $0.verdict == .missing } }

    /// Looks at everything; well under a second.
    public init() {
        let kvm = KVMCheck()
        ground = kvm.ground
        findings =
            kvm.findings + [
                userFaultFinding(), hugePagesFinding(), memoryFinding(), rdmaFinding(), tapFinding(), qemuFinding(),
                labFinding(),
            ]
    }
}
