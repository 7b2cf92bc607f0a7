public import GuestMemory
internal import LinuxSystem
internal import Synchronization

/// Who hears which pages the guest does not use: a migration that then need not send them.
public protocol FreePageReceiver: AnyObject, Sendable {
    /// The guest has not used these pages since it was asked. Called on the balloon's thread.
    func pagesAreFree(_ pages: PageRange, in block: RAMBlock)
    /// The guest has told everything, or asks to stop.
    func hintsEnded()
}

/// A balloon: the guest gives memory back to the host, tells which pages it does not use, or reports them as it frees
/// them.
///
/// A page given back is dropped at once and reads as zero when the guest uses it again; it counts as written, so that
/// source and destination hold the same bytes.
public final class BalloonDevice: VirtioDevice {
    public let name = "virtio-balloon"
    public let deviceID: UInt32 = 5
    /// Inflate, deflate, statistics, then those of hints and reports if offered.
    public let queueSizes: [UInt16]
    public let features: UInt64
    public let link = VirtioLink()
    public let hostDescriptor: Int32? = nil
    private let ramByteCount: Int
    private let hintQueue: Int?
    private let reportQueue: Int?
    let live = Mutex(Live())

    struct Live: Sendable {
        var wantedPageCount: UInt32 = 0
        var actualPageCount: UInt32 = 0
        var poison: UInt32 = 0
        var acceptedFeatures: UInt64 = 0
        var hints = Hints()
    }

    /// How far the hints about free pages are.
    ///
    ///     stopped -- startHints --> requested -- driver echoes the ID --> started -- driver ends, stopHints --> stopped
    struct Hints: Sendable {
        enum Phase: UInt32, Sendable {
            case stopped = 0
            case requested = 1
            case started = 2
            case done = 3
        }

        static let stopID: UInt32 = 0
        static let doneID: UInt32 = 1
        static let firstID: UInt32 = 0x8000_0000

        var phase = Phase.stopped
        var commandID = firstID
        weak var receiver: (any FreePageReceiver)?
    }

    enum Feature {
        static let statistics: UInt64 = 1 << 1
        static let hints: UInt64 = 1 << 3
        static let poison: UInt64 = 1 << 4
        static let reporting: UInt64 = 1 << 5
    }

    /// Makes a balloon for a guest with `ramByteCount` bytes of memory.
    ///
    /// Hints and reports are options, as `free-page-hint=` and `free-page-reporting=` of QEMU's are, because they change
    /// the number of queues.
    public init(ramByteCount: Int, hasHints: Bool = false, hasReporting: Bool = false) {
        self.ramByteCount = ramByteCount
        var sizes: [UInt16] = [128, 128, 128]
        var features = Feature.statistics | Feature.poison
        if hasHints {
            features |= Feature.hints
            sizes.append(1024)
        }
        if hasReporting {
            features |= Feature.reporting
            sizes.append(32)
        }
        queueSizes = sizes
        self.features = features
        hintQueue = hasHints ? 3 : nil
        reportQueue = hasReporting ? sizes.count - 1 : nil
    }

    // MARK: The host's side

    /// Asks the guest to give back all but `byteCount` of its memory. Any thread.
    public func setTarget(byteCount: Int) {
        live.withLock { $0.wantedPageCount = UInt32(clamping: max(0, ramByteCount - byteCount) / pageSize) }
        link.configurationChanged()
    }

    /// The memory that the guest has given back, in bytes.
    public var inflatedByteCount: Int { Int(live.withLock { $0.actualPageCount }) * pageSize }

    /// Asks the guest which pages it does not use; whether it can tell. Any thread.
    public func startHints(_ receiver: any FreePageReceiver) -> Bool {
        let isStarted = live.withLock { live in
            guard live.acceptedFeatures & Feature.hints != 0 else { return false }
            live.hints.commandID =
                live.hints.commandID == .max ? Hints.firstID : live.hints.commandID + 1
            live.hints.phase = .requested
            live.hints.receiver = receiver
            return true
        }
        if isStarted { link.configurationChanged() }
        return isStarted
    }

    /// Asks the guest to pause telling: the pages told from now on do not count. Any thread.
    public func stopHints() { endHints(.stopped) }

    /// Tells the guest that it may use the pages it told of again. Any thread.
    public func finishHints() { endHints(.done) }

    private func endHints(_ phase: Hints.Phase) {
        live.withLock { $0.hints.phase = phase }
        link.configurationChanged()
    }

    // MARK: Requests

    public func serve(_ event: VirtioEvent, _ queues: inout VirtioQueues) throws(VirtioError) {
        guard case .queue(let queue) = event else { return }
        switch queue {
        case 0, 1:
            while let chain = try queues.take(from: queue) {
                if queue == 0 { inflate(chain.read(count: Self.largestList), queues.memory) }
                try queues.give(chain, byteCount: 0)
            }
        case hintQueue:
            while let chain = try queues.take(from: queue) {
                takeHint(chain)
                try queues.give(chain, byteCount: 0)
            }
        case reportQueue:
            while let chain = try queues.take(from: queue) {
                if live.withLock({ $0.poison }) == 0 { for slice in chain.writable { drop(slice) } }
                try queues.give(chain, byteCount: 0)
            }
        // The statistics buffer stays in its queue until somebody asks for new ones.
        default: return
        }
        try queues.interruptDriver(for: queue)
    }

    /// Page numbers of a driver come in lists of 256; a hostile one gets this far.
    private static let largestList = 4 * 65536

    /// Drops the pages of a list of page numbers, u32 each, in runs.
    private func inflate(_ list: [UInt8], _ memory: GuestAddressSpace) {
        let pages = stride(from: 0, to: list.count / 4 * 4, by: 4).map { UInt64(UInt32(littleEndian: list, at: $0)) }
        var run: (first: UInt64, count: Int)?
        // Linux lists pages downwards or upwards; sorted, neighbours become one call.
        for page in pages.sorted() {
            if let open = run, page == open.first + UInt64(open.count) {
                run = (open.first, open.count + 1)
                continue
            }
            if let run { drop(run.first, run.count, memory) }
            run = (page, 1)
        }
        if let run { drop(run.first, run.count, memory) }
    }

    private func drop(_ firstPage: UInt64, _ pageCount: Int, _ memory: GuestAddressSpace) {
        let address = GuestAddress(firstPage * UInt64(pageSize))
        if let slice = try? memory.slice(at: address, byteCount: pageCount * pageSize, forWriting: true) {
            return drop(slice)
        }
        // Not all of the run is memory: the pages that are, one by one.
        guard pageCount > 1 else { return }
        for index in 0..<pageCount { drop(firstPage + UInt64(index), 1, memory) }
    }

    /// Gives back the whole pages of a slice.
    private func drop(_ slice: GuestMemorySlice) {
        let pages = slice.wholePages
        guard !pages.isEmpty else { return }
        // Memory in larger pages than the guest's cannot be given back in parts; then the guest's page stays.
        guard (try? slice.block.discard(pages)) != nil else { return }
        slice.block.dirtyBitmap.mark(pages)
    }

    /// A readable buffer is the ID of the request it answers, or the end; a writable one is free pages.
    private func takeHint(_ chain: DescriptorChain) {
        if chain.readableByteCount >= 4 {
            let id = UInt32(littleEndian: chain.read(count: 4), at: 0)
            let ended = live.withLock { live -> (any FreePageReceiver)? in
                if live.hints.phase == .requested, id == live.hints.commandID {
                    live.hints.phase = .started
                } else if live.hints.phase == .started {
                    live.hints.phase = .stopped
                    return live.hints.receiver
                }
                return nil
            }
            ended?.hintsEnded()
        }
        guard !chain.writable.isEmpty else { return }
        let receiver = live.withLock { $0.hints.phase == .started ? $0.hints.receiver : nil }
        for slice in chain.writable where !slice.wholePages.isEmpty {
            receiver?.pagesAreFree(slice.wholePages, in: slice.block)
        }
    }
}

extension GuestMemorySlice {
    /// The pages that lie in the slice from their first to their last byte.
    fileprivate var wholePages: PageRange {
        let first = (blockOffset + pageSize - 1) / pageSize
        let end = (blockOffset + byteCount) / pageSize
        return PageRange(first: PageIndex(first), pageCount: max(0, end - first))
    }
}
