import Glibc
import Synchronization

/// One line a second: on the serial line each byte leaves the guest, and a slow host has no time for more.
struct Report: Sendable {
    let counters: Counters
    let progress: [Progress]
    let hasDisk: Bool
    let hasNetwork: Bool
    let firstClockSource: String

    func run() {
        while !progress.allSatisfy({ $0.isFilled.load(ordering: .acquiring) }) { sleep(nanoseconds: 20_000_000) }
        counters.gap.store(0, ordering: .relaxed)
        counters.longestGap.store(0, ordering: .relaxed)
        counters.timerDelay.store(0, ordering: .relaxed)
        counters.longestTimerDelay.store(0, ordering: .relaxed)
        var last = now()
        var lastDirtied = counters.dirtied.load(ordering: .relaxed)
        var lastRounds = progress.map { _ in -1 }
        while true {
            let time = now()
            let dirtied = counters.dirtied.load(ordering: .relaxed)
            let rounds = progress.map { $0.rounds.load(ordering: .relaxed) }
            let stalled = zip(rounds, lastRounds).count { $0 == $1 }
            let rate = Double(dirtied - lastDirtied) * 4096 / 1e6 / max(0.1, Double(time - last) / 1e9)
            let gap = counters.gap.exchange(0, ordering: .relaxed)
            let delay = counters.timerDelay.exchange(0, ordering: .relaxed)
            say(
                "workload: t=\(tenths(time, per: 1_000_000_000)) \(totals()) gap_ms=\(tenths(gap, per: 1_000_000)) "
                    + "late_ms=\(tenths(delay, per: 1_000_000)) "
                    + "rate=\(tenths(Int64(rate * 1000), per: 1000)) stalled=\(stalled)")
            checkClockSource()
            (last, lastDirtied, lastRounds) = (time, dirtied, rounds)
            sleep(nanoseconds: 1_000_000_000)
        }
    }

    /// The kernel gives up a clock source of which it has seen that it does not keep time.
    private func checkClockSource() {
        let source = clockSource()
        if source != firstClockSource { say("workload: BAD clock source: \(firstClockSource) became \(source)") }
    }

    func totals() -> String {
        var text = "dirtied=\(value(counters.dirtied)) checked=\(value(counters.checked)) bad=\(value(counters.bad))"
        text += " max_gap_ms=\(tenths(counters.longestGap.load(ordering: .relaxed), per: 1_000_000))"
        text += " back=\(value(counters.backwards)) timers=\(value(counters.timersFired))"
        text += " max_late_ms=\(tenths(counters.longestTimerDelay.load(ordering: .relaxed), per: 1_000_000))"
        text += " held=\(value(counters.registersHeld))"
        text += " registers_bad=\(value(counters.registersBad))"
        if hasDisk {
            text += " disk_written=\(value(counters.diskWritten)) disk_checked=\(value(counters.diskChecked))"
            text += " disk_bad=\(value(counters.diskBad)) disk_errors=\(value(counters.diskErrors))"
        }
        if hasNetwork {
            text += " lines=\(value(counters.linesSent)) echoed=\(value(counters.linesEchoed))"
            text += " datagrams=\(value(counters.datagrams))"
        }
        return text
    }

    private func value(_ counter: borrowing Atomic<Int>) -> Int {
        counter.load(ordering: .relaxed)
    }
}

/// What the kernel tells the time by.
func clockSource() -> String {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    return contents(of: path)?.split(separator: "\n").first.map(String.init) ?? "unknown"
}

/// A number with one decimal place.
func tenths(_ value: Int64, per unit: Int64) -> String {
    "\(value / unit).\(value % unit * 10 / unit)"
}
