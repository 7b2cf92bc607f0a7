/// How a migration is done, apart from when it ends. Both sides must be given what `StreamDialect` holds.
public struct MigrationOptions: Equatable, Sendable {
    public var dialect = StreamDialect()
    /// Bytes per second while the guest runs, 0 for no limit.
    public var maximumBandwidth = 0
    /// Whether the destination answers on the main channel. Without it the source can only assume that all arrived.
    public var hasReturnPath = true
    /// Whether the guest is not stopped before the destination has said that it is ready for that.
    public var awaitsSwitchoverAcknowledgement = false
    /// Whether the source stops before the switchover until it is told to go on.
    public var pausesBeforeSwitchover = false
    /// Whether the machine's UUID is sent, for the destination to compare.
    public var validatesUUID = false
    /// Whether the destination is told that the guest has stopped (QEMU since 10.0; older ones refuse the command).
    public var sendsSwitchoverStart = false
    /// Whether the migration may go over to post-copy. The destination must be told the same.
    public var allowsPostcopy = false
    /// Bytes per second that are pushed in post-copy, 0 for no limit. What the destination asks for is never held back.
    public var maximumPostcopyBandwidth = 0
    /// How long the first answer of a destination is waited for with post-copy allowed; without, for ever.
    public var firstAnswerLimit: Duration = .seconds(30)
    /// Bytes of pages kept for sending changes only; nil sends whole pages. Not with multifd.
    public var xbzrleCacheByteCount: Int?
    /// What the fixed part of a downtime is taken to be before one was measured.
    public var assumedFixedDowntime: Duration = .milliseconds(5)

    public init() {}
}

/// What both sides must have in common, because nothing on the wire tells.
public struct StreamDialect: Equatable, Sendable {
    /// Multifd channels beside the main one, 0 for none.
    public var channelCount = 0
    public var sync = MultifdSync.eachRound
    public var zeroPages = ZeroPageDetection.byChannels
    public var compression = ChannelCompression.none
    /// Whether pages that the destination asks for in post-copy have a channel of their own.
    public var hasPreemptChannel = false
    /// Whether the destination says that it is ready for the switchover (QEMU since 8.1).
    public var acknowledgesSwitchover = false
    /// Whether both sides are on one host, and shared memory is handed over instead of copied.
    public var isLocal = false
    /// When the destination waits until all channels have delivered everything before.
    public enum MultifdSync: String, Equatable, Sendable {
        /// At the end of each `ram` section (QEMU before 8.1, and multifd-flush-after-each-section).
        case eachSection = "each-section"
        /// At each multifd flush record (QEMU since 8.1).
        case eachRound = "each-round"
    }

    /// Who looks for pages of zeros.
    public enum ZeroPageDetection: String, Equatable, Sendable {
        /// Nobody; they are sent as other pages.
        case none
        /// They are records of the main channel (QEMU before 9.0).
        case legacy
        /// With multifd they are listed in the channels' packets (QEMU since 9.0).
        case byChannels = "multifd"
    }

    /// How multifd channels compress.
    public enum ChannelCompression: Equatable, Sendable {
        case none
        case zlib(level: Int)
        case zstd(level: Int)
    }

    public init() {}
}
