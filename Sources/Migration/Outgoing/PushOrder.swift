internal import GuestMemory

/// In which order pages are pushed that nobody has asked for yet.
///
/// Outward from the last places where the destination asked (the pivots, newest first), a little around each; then what
/// the guest wrote last before it stopped, because it is likely to go on there; then the rest in ascending order.
/// It only proposes: a proposed range holds at least one page that was dirty when it was looked at.
struct PushOrder {
    private let dirty: [DirtyBitmap]
    private let recent: [DirtyBitmap]
    private var pivots: [Pivot] = []
    private var turn = 0
    private var sweeps: [Sweep]

    /// Pages that are proposed at once around a pivot, and elsewhere.
    private static let nearPageCount = 64
    private static let farPageCount = 512
    private static let maximumPivotCount = 4
    /// How far from a pivot it still says something.
    private static let reach = 1024

    struct Proposal: Equatable {
        var region: Int
        var range: PageRange
    }

    private struct Pivot {
        var region: Int
        var up: Int
        var upEnd: Int
        var down: Int
        var downEnd: Int
        var goesUp = true
    }

    private struct Sweep {
        var isRecent: Bool
        var region = 0
        var page = 0
    }

    /// - Parameters:
    ///   - dirty: What is still to be sent, of each region.
    ///   - recent: What was written last, of each region.
    init(dirty: [DirtyBitmap], recent: [DirtyBitmap]) {
        self.dirty = dirty
        self.recent = recent
        sweeps = [Sweep(isRecent: true), Sweep(isRecent: false)]
    }

    /// The destination asked for pages up to `end`, from `first` on.
    mutating func add(region: Int, first: Int, pageCount: Int) {
        let end = first + pageCount
        // A request next to where a pivot has come is the guest following it.
        if let index = pivots.firstIndex(where: { $0.region == region && $0.downEnd <= first && first <= $0.upEnd }) {
            pivots.remove(at: index)
        }
        pivots.append(
            Pivot(
                region: region, up: end, upEnd: min(end + Self.reach, dirty[region].pageCount), down: first,
                downEnd: max(0, first - Self.reach)))
        if pivots.count > Self.maximumPivotCount { pivots.removeFirst() }
        turn = 0
    }

    /// What to push next, nil when nothing is left.
    mutating func next() -> Proposal? {
        while !pivots.isEmpty {
            let index = pivots.count - 1 - turn % pivots.count
            turn += 1
            if let proposal = step(index) { return proposal }
            pivots.remove(at: index)
        }
        while !sweeps.isEmpty {
            if let proposal = sweep() { return proposal }
            sweeps.removeFirst()
        }
        return nil
    }

    /// The next step away from a pivot, up and down in turn.
    private mutating func step(_ index: Int) -> Proposal? {
        var pivot = pivots[index]
        defer { if index < pivots.count { pivots[index] = pivot } }
        let bitmap = dirty[pivot.region]
        for _ in 0..<2 {
            let goesUp = pivot.goesUp
            pivot.goesUp.toggle()
            if goesUp {
                let rest = PageRange(first: PageIndex(pivot.up), pageCount: max(0, pivot.upEnd - pivot.up))
                guard let run = bitmap.firstRun(in: rest, limit: Self.nearPageCount) else {
                    pivot.up = pivot.upEnd
                    continue
                }
                pivot.up = run.end.value
                return Proposal(region: pivot.region, range: run)
            }
            while pivot.down > pivot.downEnd {
                let start = max(pivot.downEnd, pivot.down - Self.nearPageCount)
                let window = PageRange(first: PageIndex(start), pageCount: pivot.down - start)
                pivot.down = start
                if bitmap.count(in: window) > 0 { return Proposal(region: pivot.region, range: window) }
            }
        }
        return nil
    }

    /// The next window of the present sweep that has something to send.
    private mutating func sweep() -> Proposal? {
        var sweep = sweeps[0]
        defer { sweeps[0] = sweep }
        while sweep.region < dirty.count {
            let pageCount = dirty[sweep.region].pageCount
            while sweep.page < pageCount {
                let filter = sweep.isRecent ? recent[sweep.region] : dirty[sweep.region]
                let rest = PageRange(first: PageIndex(sweep.page), pageCount: pageCount - sweep.page)
                guard let run = filter.firstRun(in: rest) else { break }
                // Whole windows keep together what lies together, and what the destination installs at once.
                let start = run.first.value & ~(Self.farPageCount - 1)
                let window = PageRange(
                    first: PageIndex(start), pageCount: min(Self.farPageCount, pageCount - start))
                if sweep.isRecent {
                    // Only what is recent: the run, up to a window of it.
                    let limit = min(run.pageCount, Self.farPageCount)
                    sweep.page = run.first.value + limit
                    let part = PageRange(first: run.first, pageCount: limit)
                    if dirty[sweep.region].count(in: part) > 0 { return Proposal(region: sweep.region, range: part) }
                } else {
                    sweep.page = window.end.value
                    return Proposal(region: sweep.region, range: window)
                }
            }
            sweep.region += 1
            sweep.page = 0
        }
        return nil
    }
}
