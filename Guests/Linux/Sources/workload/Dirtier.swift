import Synchronization

/// One thread's work on its share of the memory: check a page, write its next generation, keep to the rate; and
/// sweep over all pages, written or not.
struct Dirtier: ~Copyable {
    let pages: Pages
    let share: Int
    let shareCount: Int
    let options: Options
    let controls: Controls
    let counters: Counters
    let progress: Progress

    private static let batch = 16
    private static let pageMegabytes = 4096.0 / 1e6

    func run() {
        pages.fillAll()
        progress.isFilled.store(true, ordering: .releasing)
        var random: UInt64 = Pages.mix(UInt64(share) &+ 88_172_645_463_325_252)
        var next = 0
        var written = 0
        var writer = Pace()
        var sweeper = Pace()
        var swept = 0
        while !controls.isStopping.load(ordering: .relaxed) {
            let rate = controls.rate.load(ordering: .relaxed)
            let hot = min(pages.count, max(1, controls.hotPages.load(ordering: .relaxed) / shareCount))
            let time = counters.time()
            let own = rate == .max ? Double.infinity : Double(rate) / 1000 / Double(shareCount)
            let writeDue = writer.isDue(at: time, rate: own)
            if writeDue {
                let isSequential = controls.isSequential.load(ordering: .relaxed)
                for _ in 0..<Self.batch {
                    random ^= random << 13
                    random ^= random >> 7
                    random ^= random << 17
                    next = isSequential ? (next + 1) % hot : Int(random % UInt64(hot))
                    check(next)
                    pages.write(next)
                }
                if controls.spoils.exchange(false, ordering: .relaxed) { pages.spoil(next) }
                written += Self.batch
                writer.count(Double(Self.batch) * Self.pageMegabytes)
                counters.dirtied.add(Self.batch, ordering: .relaxed)
                counters.checked.add(Self.batch, ordering: .relaxed)
            }
            let sweepDue = sweeper.isDue(at: time, rate: options.check / Double(shareCount))
            if sweepDue {
                for _ in 0..<Self.batch {
                    check(swept)
                    swept += 1
                    if swept == pages.count {
                        swept = 0
                        checkGenerations(written)
                    }
                }
                sweeper.count(Double(Self.batch) * Self.pageMegabytes)
                counters.checked.add(Self.batch, ordering: .relaxed)
            }
            progress.rounds.add(1, ordering: .relaxed)
            if !writeDue && !sweepDue {
                sleep(nanoseconds: min(min(writer.due, sweeper.due) - time, 100_000_000))
            }
        }
        for page in 0..<pages.count { check(page) }
        checkGenerations(written)
        counters.checked.add(pages.count, ordering: .relaxed)
        progress.isDone.store(true, ordering: .releasing)
    }

    private func check(_ page: Int) {
        guard !pages.isIntact(page) else { return }
        let bad = counters.bad.add(1, ordering: .relaxed).newValue
        let text = pages.repair(page)
        if bad <= 10 { say("workload: BAD memory: \(text)") }
    }

    /// The generations are guest memory too: one that went back together with its page shows here.
    private func checkGenerations(_ written: Int) {
        let found = pages.writeCount()
        guard found != written else { return }
        let bad = counters.bad.add(1, ordering: .relaxed).newValue
        if bad <= 10 { say("workload: BAD memory: generations say \(found) writes, \(written) were done") }
    }
}

/// What a dirtying thread tells the report.
final class Progress: Sendable {
    let isFilled = Atomic<Bool>(false)
    let isDone = Atomic<Bool>(false)
    let rounds = Atomic<Int>(0)
}

/// Keeps an activity to a rate without making up for time in which the guest did not run.
struct Pace {
    private var start: Int64 = now()
    private var done = 0.0
    private var currentRate = -1.0
    /// When the next piece is due, in nanoseconds.
    private(set) var due: Int64 = 0

    /// - Parameter rate: MB/s; infinite for no limit, 0 for never.
    mutating func isDue(at time: Int64, rate: Double) -> Bool {
        if rate != currentRate {
            (start, done, currentRate) = (time, 0, rate)
        }
        if rate == .infinity {
            due = time
        } else if rate <= 0 {
            due = .max
        } else {
            due = start + Int64(done / rate * 1e9)
            if time - due > 500_000_000 {
                (start, done, due) = (time, 0, time)
            }
        }
        return due <= time
    }

    mutating func count(_ megabytes: Double) {
        done += megabytes
    }
}
