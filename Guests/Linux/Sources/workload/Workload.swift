import CWorkload
import Glibc
import Synchronization

/// A guest that shows whether it was moved without harm.
///
/// It dirties memory and checks what every page must hold, watches the clock, holds values in registers, writes and
/// checks a disk, answers on the network, and reports one line a second:
///
///     workload: t=12.0 dirtied=61440 checked=92160 bad=0 max_gap_ms=35.0 back=0 … gap_ms=1.9 rate=20.1 stalled=0
///
/// t: seconds by the guest's clock; dirtied, checked: pages so far; bad: pages that were wrong; gap_ms: the longest
/// time between two looks at the clock since the last line; back: times a clock went backwards; timers: periods told
/// by the timers of all processors; late_ms: the longest that one was late since the last line; rate: MB/s dirtied;
/// stalled: dirtying threads that did nothing since the last line. Anything wrong is also a line with BAD.
@main
struct Workload {
    let options: Options
    let controls: Controls
    let counters = Counters()
    let processorCount = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))

    static func main() {
        signal(SIGPIPE, SIG_IGN)
        let (options, unknown) = Options.fromEnvironment()
        if !unknown.isEmpty { say("workload: unknown options: \(unknown.joined(separator: " "))") }
        Workload(options: options, controls: Controls(options)).run()
    }

    private func run() {
        let shareCount = options.threads > 0 ? options.threads : processorCount
        let pageCount = options.memory * 256
        let hasRegisters = options.holdsRegisters
        let registers = !hasRegisters ? "none" : workload_has_avx() != 0 ? "avx" : "sse"
        let disks = options.disk.split(separator: ",").compactMap {
            DiskCheck(path: String($0), area: options.diskArea, counters: self.counters)
        }
        let hasNetwork = options.serves && access("/sys/class/net/eth0", F_OK) == 0
        let firstClockSource = clockSource()
        let rate = options.rate == .infinity ? "max" : "\(options.rate)"
        say(
            "workload: start memory=\(options.memory) hot=\(controls.hotPages.load(ordering: .relaxed) / 256) "
                + "rate=\(rate) pattern=\(options.pattern.rawValue) processors=\(processorCount) threads=\(shareCount) "
                + "registers=\(registers) clock=\(firstClockSource) disk=\(disks.count) network=\(hasNetwork ? 1 : 0)"
        )

        let progress = (0..<shareCount).map { share in
            startDirtier(
                share, of: shareCount, first: pageCount * share / shareCount,
                end: pageCount * (share + 1) / shareCount)
        }
        let counters = counters
        let (clock, tickPeriod, tickPort) = (options.clock, options.tick, options.tickPort)
        startThread(cpu: processorCount - 1, priority: clock > 0 ? 10 : 0) { sampleClock(every: clock, counters) }
        if tickPeriod > 0 { startThread(priority: 10) { tick(every: tickPeriod, on: tickPort) } }
        if options.timer > 0 {
            let period = options.timer
            for processor in 0..<processorCount {
                startThread(cpu: processor, priority: 10) {
                    watchTimer(every: period, processor: processor, counters)
                }
            }
        }
        if hasRegisters {
            for processor in 0..<processorCount {
                startThread(cpu: processor) { holdRegisters(processor: processor, counters) }
            }
        }
        for disk in disks {
            let (controls, rate) = (controls, options.diskRate)
            startThread { disk.check(rate: rate, controls: controls) }
        }
        if hasNetwork { serveNetwork(counters) }
        let report = Report(
            counters: counters, progress: progress, hasDisk: !disks.isEmpty, hasNetwork: hasNetwork,
            firstClockSource: firstClockSource)
        let console = Console(controls: controls, options: options) { restarts in
            end(restarts: restarts, progress: progress, disks: disks, report: report)
        }
        startThread { console.read() }
        if getpid() == 1 { startThread { watchPowerButton { console.end(false) } } }
        report.run()
    }

    private func startDirtier(_ share: Int, of shareCount: Int, first: Int, end: Int) -> Progress {
        let progress = Progress()
        let (options, controls, counters) = (options, controls, counters)
        startThread(cpu: share % processorCount) {
            guard let pages = Pages(first: first, count: end - first) else {
                return say("workload: BAD memory: no room for \(end - first) pages")
            }
            Dirtier(
                pages: pages, share: share, shareCount: shareCount, options: options, controls: controls,
                counters: counters, progress: progress
            ).run()
        }
        return progress
    }

    /// Stops the work, checks everything once more, says so, and ends the guest.
    private func end(restarts: Bool, progress: [Progress], disks: [DiskCheck], report: Report) {
        controls.isStopping.store(true, ordering: .relaxed)
        let limit = now() + 120_000_000_000
        let isDone = {
            progress.allSatisfy { $0.isDone.load(ordering: .acquiring) }
                && disks.allSatisfy { $0.isDone.load(ordering: .acquiring) }
        }
        while !isDone() && now() < limit { sleep(nanoseconds: 10_000_000) }
        say("workload: \(isDone() ? "end" : "BAD end: some threads did not stop") \(report.totals())")
        guard getpid() == 1 else { exit(0) }
        let error = workload_end_machine(restarts ? 1 : 0)
        say("workload: BAD end: the machine goes on, error \(-error)")
    }
}
