public import QMP

/// One run of `apus migrate`: what was asked for, what the monitors answered while it ran, and what came of it.
///
/// Nothing in it is computed: samples are the answers to `query-migrate` as they came, notices the events. Figures are
/// what `MigrationSummary` and readers of `value` make of them. Times are counted from `migrate`, by the clock of the
/// program that drove the migration.
public struct MigrationRecord: Equatable, Sendable {
    /// Who said something.
    public enum Side: String, Sendable, CaseIterable {
        case source
        case destination
    }

    /// What became of it.
    public enum Outcome: String, Sendable, CaseIterable {
        /// The destination has the guest.
        case completed
        /// The guest is at the source as before.
        case failed
        /// Given up by a person or a timeout; the guest is at the source as before.
        case cancelled
        /// The link of a post-copy is lost: the guest waits for the missing pages until the migration is resumed.
        case paused
        /// Nobody could say which side has the guest.
        case unknown
    }

    /// A monitor that took part.
    public struct Monitor: Equatable, Sendable {
        /// Name and version of the program: "apus 0.1.0", "QEMU 7.2.22".
        public var program: String
        /// The path of its QMP socket.
        public var socket: String
        /// The guest's name, if it was given one.
        public var guest: String?
        public var virtualCPUCount: Int

        public init(program: String, socket: String, guest: String? = nil, virtualCPUCount: Int) {
            self.program = program
            self.socket = socket
            self.guest = guest
            self.virtualCPUCount = virtualCPUCount
        }
    }

    /// An answer to `query-migrate`.
    public struct Sample: Equatable, Sendable {
        public var time: Duration
        public var side: Side
        public var answer: QMPValue

        public init(time: Duration, side: Side, answer: QMPValue) {
            self.time = time
            self.side = side
            self.answer = answer
        }

        public var info: MigrationInfo { MigrationInfo(reading: answer) }
    }

    /// An event of a monitor, or something that the driver of the migration did ("apus: …" as its name).
    public struct Notice: Equatable, Sendable {
        public var time: Duration
        public var side: Side
        /// With the monitor's own time of day.
        public var event: Event

        public init(time: Duration, side: Side, event: Event) {
            self.time = time
            self.side = side
            self.event = event
        }
    }

    /// Time of day at the start.
    public var start: Event.Timestamp
    /// Where the source sent the guest.
    public var address: String
    public var source: Monitor
    /// Nil when only the source was spoken to.
    public var destination: Monitor?
    /// The capabilities that were on at the source, and its parameters, when it started.
    public var capabilities: [String] = []
    public var parameters = QMPObject()
    public var samples: [Sample] = []
    public var notices: [Notice] = []
    public var outcome = Outcome.unknown
    /// Why it did not complete: sentences for a person.
    public var reasons: [String] = []
    /// From `migrate` until the outcome was known.
    public var duration: Duration = .zero

    public init(start: Event.Timestamp, address: String, source: Monitor, destination: Monitor? = nil) {
        self.start = start
        self.address = address
        self.source = source
        self.destination = destination
    }
}
