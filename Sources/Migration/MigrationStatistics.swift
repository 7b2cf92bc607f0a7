internal import GuestMemory
internal import Synchronization

/// What a migration has done so far, in QEMU's terms.
public struct MigrationStatistics: Equatable, Sendable {
    public var phase = OutgoingPhase.setup
    /// Time since the start; when it is over, how long it took.
    public var totalTime: Duration = .zero
    /// From the start until the first page.
    public var setupTime: Duration = .zero
    /// How long the guest stood still; nil before it did.
    public var downtime: Duration?
    /// What a switchover now would cost; nil while nothing is known.
    public var expectedDowntime: Duration?
    public var downtimeParts = DowntimeParts()
    /// Memory of the guest in bytes.
    public var totalByteCount = 0
    /// Bytes of memory that are still to be sent.
    public var remainingByteCount = 0
    /// Bytes given to all channels.
    public var transferredByteCount = 0
    /// Of these, bytes on multifd channels.
    public var multifdByteCount = 0
    /// Of these, bytes sent before the guest stopped.
    public var precopyByteCount = 0
    /// Of these, bytes sent while the guest was stopped.
    public var downtimeByteCount = 0
    /// Of these, bytes sent since the destination could run the guest.
    public var postcopyByteCount = 0
    public var postcopy = OutgoingPostcopyStatistics()
    /// Why the passes ended in post-copy, if they did.
    public var postcopyReason: Decision.Reason?
    /// What cut the link of a post-copy that is paused.
    public var linkError: String?
    /// How often a cut link was replaced.
    public var recoveryCount = 0
    /// Pages sent with their bytes.
    public var normalPageCount = 0
    /// Pages sent as zero.
    public var zeroPageCount = 0
    /// Pages that were dirty again when their turn came, and left for the next pass.
    public var skippedPageCount = 0
    /// How often a channel was to send without a copy, and the kernel copied everything between two syncs.
    public var missedZeroCopyCount = 0
    /// How long the virtual CPU that was held most was held in the last pass by a dirty limit or the stun.
    public var throttleTimePerPass: Duration = .zero
    /// How long the virtual CPU that wrote most took to fill its dirty ring in the last pass; nil without rings.
    public var dirtyRingFullTime: Duration?
    /// Pages dirtied per second in the last pass.
    public var dirtyPageRate = 0
    /// Syncs of the dirty log so far, its start being the first.
    public var dirtySyncCount = 0
    /// Pages sent per second in the last pass.
    public var pagesPerSecond = 0
    /// Bits per second in the last pass.
    public var bitsPerSecond = 0.0
    public var throttle = GuestThrottle.none
    public var xbzrle = XBZRLEStatistics()
    /// Each finished pass.
    public var passes: [PassStatistics] = []

    public init() {}
}

/// The time that the guest stood still, in parts; zero where a part did not happen.
public struct DowntimeParts: Equatable, Sendable {
    /// Stopping the virtual CPUs and draining devices.
    public var pause: Duration = .zero
    /// Fetching the dirty log once more.
    public var lastSync: Duration = .zero
    /// Sending the last pages.
    public var lastPages: Duration = .zero
    /// Giving up the disks' locks.
    public var disks: Duration = .zero
    /// Reading the devices' state.
    public var save: Duration = .zero
    /// Sending it.
    public var send: Duration = .zero
    /// Waiting for the destination to load it and answer.
    public var load: Duration = .zero
    /// Letting the guest run there, if the destination tells.
    public var resume: Duration = .zero
    /// Telling the network, if the destination tells; the guest runs meanwhile.
    public var announce: Duration = .zero

    public init() {}

    /// One of them.
    enum Part { case pause, lastSync, lastPages, disks, save, send, load, resume, announce }

    // A key path would be shorter. The first use of one takes longer than the switchover may.
    mutating func add(_ duration: Duration, to part: Part) {
        switch part {
        case .pause: pause += duration
        case .lastSync: lastSync += duration
        case .lastPages: lastPages += duration
        case .disks: disks += duration
        case .save: save += duration
        case .send: send += duration
        case .load: load += duration
        case .resume: resume += duration
        case .announce: announce += duration
        }
    }

    /// All but the pages.
    public var fixed: Duration { pause + lastSync + disks + save + send + load + resume }
}

/// What a source has sent in post-copy.
public struct OutgoingPostcopyStatistics: Equatable, Sendable {
    /// Requests for pages that came.
    public var requestCount = 0
    /// Of these, requests for what was asked for already and not yet sent.
    public var joinedRequestCount = 0
    /// Pages sent because they were asked for.
    public var requestedPageCount = 0
    /// Pages sent without being asked for.
    public var pushedPageCount = 0
    /// Pages sent before they were asked for because the guest cannot go on without them.
    public var firstPageCount = 0
    /// What a person should know before post-copy begins: huge pages that make each wait long.
    public var warning: String?

    public init() {}

    /// What pages as large as these cost a guest that touches one that is missing; nil if nothing to speak of.
    public static func warning(for regions: [MemoryRegion]) -> String? {
        guard let region = regions.first(where: { $0.unitPageCount * pageSize >= 1 << 30 }) else { return nil }
        let gibibytes = (region.unitPageCount * pageSize) >> 30
        return "RAM block \(region.block.name) is in pages of \(gibibytes) GiB, which come whole: in post-copy whoever "
            + "touches a missing one stands still for about \(9 * gibibytes) s over a link of 1 Gbit/s, or "
            + "\(gibibytes) s over one of 10."
    }
}

/// What sending changes only has done.
public struct XBZRLEStatistics: Equatable, Sendable {
    public var cacheByteCount = 0
    /// Bytes and pages sent as changes.
    public var byteCount = 0
    public var pageCount = 0
    public var cacheMissCount = 0
    /// Pages whose changes were larger than the page.
    public var overflowCount = 0

    public init() {}
}

/// What channels have sent: counted by their threads, read by any.
///
/// Counters only; nothing is published through them, so all orderings are relaxed.
final class TransferCounters: Sendable {
    private let mainBytes = Atomic(0)
    private let multifdBytes = Atomic(0)
    private let normalPages = Atomic(0)
    private let zeroPages = Atomic(0)
    private let skippedPages = Atomic(0)
    private let missedZeroCopies = Atomic(0)
    private let pushedPages = Atomic(0)
    private let requestedPages = Atomic(0)
    private let firstPages = Atomic(0)
    private let pressedBytes = Atomic(0)
    private let pressedNanoseconds = Atomic(0)

    /// The values at one moment.
    struct Values: Equatable {
        var mainByteCount = 0
        var multifdByteCount = 0
        var normalPageCount = 0
        var zeroPageCount = 0
        var skippedPageCount = 0
        var pressedByteCount = 0
        var pressedNanoseconds = 0

        var byteCount: Int { mainByteCount + multifdByteCount }
    }

    func addSend(byteCount: Int, isMultifd: Bool, pressure: BackPressure) {
        if isMultifd {
            multifdBytes.wrappingAdd(byteCount, ordering: .relaxed)
        } else {
            mainBytes.wrappingAdd(byteCount, ordering: .relaxed)
        }
        guard pressure.byteCount > 0 else { return }
        pressedBytes.wrappingAdd(pressure.byteCount, ordering: .relaxed)
        let nanoseconds = Int(pressure.duration.inSeconds * 1e9)
        pressedNanoseconds.wrappingAdd(nanoseconds, ordering: .relaxed)
    }

    func addPages(normal: Int, zero: Int) {
        if normal > 0 { normalPages.wrappingAdd(normal, ordering: .relaxed) }
        if zero > 0 { zeroPages.wrappingAdd(zero, ordering: .relaxed) }
    }

    func addMissedZeroCopy() { missedZeroCopies.wrappingAdd(1, ordering: .relaxed) }
    var missedZeroCopyCount: Int { missedZeroCopies.load(ordering: .relaxed) }
    func addPushed(pages: Int) { pushedPages.wrappingAdd(pages, ordering: .relaxed) }
    func add(pages: Int, sentFor request: PageRequests.Request) {
        if request.isAnticipated {
            firstPages.wrappingAdd(pages, ordering: .relaxed)
        } else {
            requestedPages.wrappingAdd(pages, ordering: .relaxed)
        }
    }
    var pushedPageCount: Int { pushedPages.load(ordering: .relaxed) }
    var requestedPageCount: Int { requestedPages.load(ordering: .relaxed) }
    var firstPageCount: Int { firstPages.load(ordering: .relaxed) }

    func addSkipped(_ count: Int) { skippedPages.wrappingAdd(count, ordering: .relaxed) }

    var values: Values {
        Values(
            mainByteCount: mainBytes.load(ordering: .relaxed), multifdByteCount: multifdBytes.load(ordering: .relaxed),
            normalPageCount: normalPages.load(ordering: .relaxed),
            zeroPageCount: zeroPages.load(ordering: .relaxed),
            skippedPageCount: skippedPages.load(ordering: .relaxed),
            pressedByteCount: pressedBytes.load(ordering: .relaxed),
            pressedNanoseconds: pressedNanoseconds.load(ordering: .relaxed))
    }
}
