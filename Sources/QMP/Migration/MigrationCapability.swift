/// What a migration may do, chosen before it starts. The order is the order of QEMU's answers.
public enum MigrationCapability: String, Sendable, CaseIterable {
    case xbzrle
    case rdmaPinAll = "rdma-pin-all"
    case autoConverge = "auto-converge"
    case zeroBlocks = "zero-blocks"
    case compress
    case events
    case postcopyRAM = "postcopy-ram"
    case colo = "x-colo"
    case releaseRAM = "release-ram"
    case block
    case returnPath = "return-path"
    case pauseBeforeSwitchover = "pause-before-switchover"
    case multifd
    case dirtyBitmaps = "dirty-bitmaps"
    case postcopyBlocktime = "postcopy-blocktime"
    case lateBlockActivate = "late-block-activate"
    case ignoreShared = "x-ignore-shared"
    case validateUUID = "validate-uuid"
    case backgroundSnapshot = "background-snapshot"
    case zeroCopySend = "zero-copy-send"
    case postcopyPreempt = "postcopy-preempt"
    case switchoverAck = "switchover-ack"
    case dirtyLimit = "dirty-limit"
    case mappedRAM = "mapped-ram"
    /// Passes while they pay, then post-copy: an addition of Apus.
    case hybrid
    /// Additions of Apus: each virtual CPU may take so many write faults a period.
    case stun
    /// On one host: shared memory is handed over instead of being copied, an addition of Apus.
    case local

    /// Those of QEMU 7.2.
    public static let ofQEMU72 = Array(allCases.prefix { $0 != .switchoverAck })

    /// Those that Apus has: the others are listed, and cannot be switched on.
    public static let ofApus: Set<MigrationCapability> = [
        .xbzrle, .autoConverge, .events, .returnPath, .pauseBeforeSwitchover, .multifd, .validateUUID,
        .postcopyRAM, .postcopyPreempt, .postcopyBlocktime, .hybrid,
        .dirtyLimit, .stun, .local, .switchoverAck,
    ]
}

/// The capabilities that are on. None is by default.
public struct MigrationCapabilities: Equatable, Sendable {
    public private(set) var enabled: Set<MigrationCapability> = []

    public init() {}

    /// Sets the capabilities without looking at conflicts.
    public init(_ enabled: Set<MigrationCapability>) { self.enabled = enabled }

    public func has(_ capability: MigrationCapability) -> Bool { enabled.contains(capability) }

    /// Changes all of `changes` or none.
    ///
    /// - Parameters:
    ///   - available: What this monitor can do; anything else cannot be switched on.
    ///   - compression: The compression of multifd channels, which excludes zero copy.
    /// - Throws: QEMU's sentence for a conflict.
    public mutating func set(
        _ changes: [(MigrationCapability, Bool)], available: Set<MigrationCapability>,
        multifdCompression: String = "none", usesTLS: Bool = false
    ) throws(QMPError) {
        var next = enabled
        for (capability, isOn) in changes {
            if isOn && !available.contains(capability) {
                throw QMPError("Migration capability '\(capability.rawValue)' is not available in this monitor")
            }
            if isOn { next.insert(capability) } else { next.remove(capability) }
        }
        try MigrationCapabilities.check(next, before: enabled, multifdCompression, usesTLS)
        enabled = next
    }

    /// The answer to `query-migrate-capabilities`.
    public func value(of offered: [MigrationCapability]) -> QMPValue {
        .array(offered.map { ["state": .bool(has($0)), "capability": .string($0.rawValue)] })
    }

    private static func check(
        _ next: Set<MigrationCapability>, before: Set<MigrationCapability>, _ compression: String, _ usesTLS: Bool
    ) throws(QMPError) {
        if next.contains(.postcopyRAM) && next.contains(.ignoreShared) {
            throw QMPError("Postcopy is not compatible with ignore-shared")
        }
        if next.contains(.backgroundSnapshot) {
            for other in excludedBySnapshot where next.contains(other) {
                throw QMPError("Background-snapshot is not compatible with \(other.rawValue)")
            }
        }
        if next.contains(.zeroCopySend) {
            if !next.contains(.multifd) || next.contains(.xbzrle) || next.contains(.compress) || compression != "none"
                || usesTLS
            {
                throw QMPError("Zero copy only available for non-compressed non-TLS multifd migration")
            }
        }
        if next.contains(.postcopyPreempt) {
            guard next.contains(.postcopyRAM) else { throw QMPError("Postcopy preempt requires postcopy-ram") }
            if next.contains(.compress) { throw QMPError("Postcopy preempt not compatible with compress") }
        }
        if next.contains(.hybrid) && !next.contains(.postcopyRAM) {
            throw QMPError("Capability 'hybrid' requires capability 'postcopy-ram'")
        }
        if next.contains(.multifd) && next.contains(.compress) {
            throw QMPError("Multifd is not compatible with compress")
        }
        if next.contains(.switchoverAck) && !next.contains(.returnPath) {
            throw QMPError("Capability 'switchover-ack' requires capability 'return-path'")
        }
        if next.contains(.dirtyLimit) && next.contains(.autoConverge) {
            throw QMPError("dirty-limit conflicts with auto-converge either of then available currently")
        }
        if next.contains(.stun), let other = [.dirtyLimit, .autoConverge].first(where: next.contains) {
            throw QMPError("stun conflicts with \(other.rawValue): a guest is slowed down in one way at a time")
        }
        if next.contains(.local) {
            for other in excludedByLocal where next.contains(other) {
                throw QMPError("local conflicts with \(other.rawValue): memory is handed over, and no page is sent")
            }
        }
        if next.contains(.mappedRAM) {
            for other in [MigrationCapability.xbzrle, .compress, .postcopyRAM] where next.contains(other) {
                throw QMPError("Mapped-ram migration is incompatible with \(other.rawValue)")
            }
        }
    }

    private static let excludedByLocal: [MigrationCapability] = [
        .multifd, .xbzrle, .compress, .postcopyRAM, .mappedRAM, .ignoreShared, .zeroCopySend,
    ]

    private static let excludedBySnapshot: [MigrationCapability] = [
        .postcopyRAM, .dirtyBitmaps, .postcopyBlocktime, .lateBlockActivate, .returnPath, .multifd,
        .pauseBeforeSwitchover, .autoConverge, .releaseRAM, .rdmaPinAll, .compress, .xbzrle, .colo, .validateUUID,
        .zeroCopySend,
    ]
}
