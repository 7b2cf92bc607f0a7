public import MigrationRecords
internal import QMP

/// Everything that was seen of one migration, by those who watched it.
public struct Move: Equatable, Sendable {
    /// How the guest's memory came to the destination.
    public enum Mode: String, Sendable, CaseIterable {
        case precopy
        case postcopy
        case hybrid

        /// As people write it.
        public var title: String {
            switch self {
            case .precopy: "pre-copy"
            case .postcopy: "post-copy"
            case .hybrid: "hybrid"
            }
        }
    }

    public var mode: Mode
    /// "tcp", "unix", …: the first word of the address.
    public var transport: String
    /// Nil when it was not started; `failure` then says why.
    public var record: MigrationRecord?
    /// What the guest itself said before, during and after it; nil when it says nothing that is understood.
    public var guest: GuestTrace?
    /// What a client of the guest on the network saw; nil when there was none.
    public var network: NetworkTrace?
    /// What it cost both monitors; nil when they are not processes of this host.
    public var cost: ProcessorCost?
    /// Why it does not count as a success: one sentence. Nil when the guest is at the destination and well.
    public var failure: String?

    public init(mode: Mode, transport: String, record: MigrationRecord? = nil, failure: String? = nil) {
        self.mode = mode
        self.transport = transport
        self.record = record
        self.failure = failure
    }

    /// A migration of which only the record is known.
    public init(_ record: MigrationRecord) {
        let words = record.address.split(separator: ":", maxSplits: 1)
        self.init(mode: Mode(of: record), transport: words.first.map(String.init) ?? "", record: record)
        if record.outcome != .completed {
            let reasons = record.reasons.joined(separator: " ")
            failure = reasons.isEmpty ? "The migration is \(record.outcome.rawValue)." : reasons
        }
    }

    /// "pre-copy, tcp"
    public var title: String { "\(mode.title), \(transport)" }
}

extension Move.Mode {
    /// What a migration became: one that was allowed to go to post-copy and did not is a pre-copy.
    public init(of record: MigrationRecord) {
        let infos = record.samples.filter { $0.side == .source }.map(\.info)
        let wentToPostcopy =
            infos.contains { $0.status == .postcopyActive }
            || record.notices.contains { $0.event.data?["status"]?.stringValue == "postcopy-active" }
        guard wentToPostcopy else {
            self = .precopy
            return
        }
        let passes = infos.filter { $0.status == .active }.compactMap { $0.ram?.dirtySyncCount }.max() ?? 0
        self = passes > 1 ? .hybrid : .postcopy
    }
}

/// What a guest said of its own work, in looks at it.
public struct GuestTrace: Equatable, Sendable {
    /// One line of the guest.
    public struct Look: Equatable, Sendable {
        /// When the line came, from the start of the migration on; negative before it.
        public var time: Duration
        /// Units of work done since the guest began.
        public var work: Int
        /// The longest time without a look at its clock since the line before, by its own clock.
        public var gap: Duration

        public init(time: Duration, work: Int, gap: Duration) {
            self.time = time
            self.work = work
            self.gap = gap
        }
    }

    public var looks: [Look]
    /// What the guest found wrong in all: pages, registers. 0 is what must be.
    public var badCount: Int
    /// Pages that the guest checked after the migration, 0 when it does not check.
    public var checkedPageCount: Int

    public init(looks: [Look], badCount: Int = 0, checkedPageCount: Int = 0) {
        self.looks = looks
        self.badCount = badCount
        self.checkedPageCount = checkedPageCount
    }
}

/// What a client that asks the guest again and again saw.
public struct NetworkTrace: Equatable, Sendable {
    public var sentCount: Int
    public var answeredCount: Int
    /// The longest time between two answers, less the time between two questions.
    public var longestGap: Duration

    public init(sentCount: Int, answeredCount: Int, longestGap: Duration) {
        self.sentCount = sentCount
        self.answeredCount = answeredCount
        self.longestGap = longestGap
    }
}

/// Processor time of the two monitors without their virtual CPUs.
public struct ProcessorCost: Equatable, Sendable {
    public var source: Duration
    public var destination: Duration

    public init(source: Duration, destination: Duration) {
        self.source = source
        self.destination = destination
    }
}
