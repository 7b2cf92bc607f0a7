public import QMP

/// What a migration is to be like, in the words of QMP: what is set before the start, and what is done on the way.
public struct MigrationPlan: Equatable, Sendable {
    /// When the guest goes on at the destination before all of its memory is there.
    public enum Mode: Equatable, Sendable {
        /// Never: passes until the rest is small, then the guest moves.
        case precopy
        /// After so many passes; 0: as soon as the migration runs.
        case postcopy(afterPass: Int)
        /// When another pass does not pay.
        case hybrid
    }

    /// What happens to a migration that takes too long.
    public struct Timeout: Equatable, Sendable {
        public enum Action: String, Equatable, Sendable, CaseIterable {
            /// The guest is stopped at the source, so that the rest can be sent; it goes on at the destination.
            case suspend
            case cancel
            case postcopy
        }
        public var limit: Duration
        public var action: Action

        public init(limit: Duration, action: Action) {
            self.limit = limit
            self.action = action
        }
    }

    /// A setting and the option that asked for it, for the error when a monitor does not know it.
    public struct Wish<Value: Equatable & Sendable>: Equatable, Sendable {
        public var name: String
        public var value: Value
        /// "--channels"; empty when no option asked.
        public var option: String
    }

    /// Where the source sends the guest.
    public var address: String
    /// Where a destination that was started with `--incoming defer` listens; nil: at `address`.
    public var listenAddress: String?
    public var mode = Mode.precopy
    public var timeout: Timeout?
    /// The guest runs while it moves. If not, it is stopped before the start, and goes on where it is at the end.
    public var isLive = true
    /// Goes on with a paused post-copy.
    public var resumes = false
    /// Capabilities to be on; all others of `MigrationPlan.managed` are switched off.
    public private(set) var capabilities: [Wish<Bool>] = []
    public private(set) var parameters: [Wish<QMPValue>] = []

    public init(address: String) { self.address = address }

    public mutating func enable(_ capability: String, for option: String = "") {
        if !capabilities.contains(where: { $0.name == capability }) {
            capabilities.append(Wish(name: capability, value: true, option: option))
        }
    }

    public mutating func set(_ parameter: String, to value: QMPValue, for option: String = "") {
        parameters.removeAll { $0.name == parameter }
        parameters.append(Wish(name: parameter, value: value, option: option))
    }

    public func enables(_ capability: String) -> Bool { capabilities.contains { $0.name == capability } }

    /// What a plan decides about: the present migration has them as the plan says, whatever was set before.
    static let managed: Set<String> = [
        "xbzrle", "auto-converge", "events", "postcopy-ram", "postcopy-preempt", "postcopy-blocktime", "return-path",
        "pause-before-switchover", "multifd", "zero-copy-send", "dirty-limit", "stun", "local", "hybrid", "mapped-ram",
        "validate-uuid",
    ]

    /// Those of which the destination must know, and those parameters.
    static let sharedCapabilities: Set<String> = [
        "events", "xbzrle", "multifd", "postcopy-ram", "postcopy-preempt", "postcopy-blocktime", "local",
        "validate-uuid", "mapped-ram",
    ]
    static let sharedParameters: Set<String> = [
        "multifd-channels", "multifd-compression", "multifd-zlib-level", "multifd-zstd-level", "zero-page-detection",
        "xbzrle-cache-size",
    ]
}

/// Why a migration was not started: one sentence. Both guests are as they were.
public struct PreparationError: Error, Equatable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}
