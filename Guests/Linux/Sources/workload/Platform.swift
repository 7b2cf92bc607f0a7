import CWorkload
import Glibc
import Synchronization

/// Nanoseconds of a clock.
@inline(__always)
func now(_ clock: clockid_t = CLOCK_MONOTONIC) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

func sleep(nanoseconds: Int64) {
    guard nanoseconds > 0 else { return }
    var time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    nanosleep(&time, nil)
}

/// Writes one line in one call, so that lines of several threads do not mix.
func say(_ text: String) {
    writeAll(text + "\n", to: 1)
}

/// Returns false when the other side is gone.
@discardableResult
func writeAll(_ text: String, to descriptor: Int32) -> Bool {
    writeAll(Array(text.utf8)[...], to: descriptor)
}

/// Returns false when the other side is gone.
@discardableResult
func writeAll(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { bytes in
        var offset = 0
        while offset < bytes.count {
            let count = write(descriptor, bytes.baseAddress! + offset, bytes.count - offset)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return false }
            offset += count
        }
        return true
    }
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let argument {
        Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run()
    }
    return nil
}

/// Starts a thread that is never waited for; on one processor if `cpu` is given, real-time above priority 0.
func startThread(cpu: Int? = nil, priority: Int32 = 0, _ body: @escaping @Sendable () -> Void) {
    let box = ThreadBody {
        if cpu != nil || priority > 0, workload_place_thread(Int32(cpu ?? -1), priority) < 0 {
            say("workload: cannot place a thread" + (cpu.map { " on processor \($0)" } ?? ""))
        }
        body()
    }
    var thread = pthread_t()
    let error = pthread_create(&thread, nil, threadMain, Unmanaged.passRetained(box).toOpaque())
    if error != 0 {
        say("workload: cannot start a thread: error \(error)")
    } else {
        pthread_detach(thread)
    }
}

/// What the threads count and the report shows.
final class Counters: Sendable {
    let dirtied = Atomic<Int>(0)
    let checked = Atomic<Int>(0)
    let bad = Atomic<Int>(0)
    /// Nanoseconds: the longest gap since the last report, and ever.
    let gap = Atomic<Int64>(0)
    let longestGap = Atomic<Int64>(0)
    let backwards = Atomic<Int>(0)
    let latest = Atomic<Int64>(0)
    let latestWallTime = Atomic<Int64>(0)
    let timersFired = Atomic<Int>(0)
    /// Nanoseconds: how late a timer was at most since the last report, and ever.
    let timerDelay = Atomic<Int64>(0)
    let longestTimerDelay = Atomic<Int64>(0)
    let registersHeld = Atomic<Int>(0)
    let registersBad = Atomic<Int>(0)
    let diskWritten = Atomic<Int>(0)
    let diskChecked = Atomic<Int>(0)
    let diskBad = Atomic<Int>(0)
    let diskErrors = Atomic<Int>(0)
    let linesSent = Atomic<Int>(0)
    let linesEchoed = Atomic<Int>(0)
    let datagrams = Atomic<Int>(0)

    /// Reads the clock and checks that no thread on any processor had seen a later time before.
    func time() -> Int64 {
        // Pairs with the release below: a time seen there was read before this one.
        let before = latest.load(ordering: .acquiring)
        let time = now()
        if time < before { goBack("monotonic", before, time) }
        latest.max(time, ordering: .acquiringAndReleasing)
        return time
    }

    /// The same of the time of day, which nobody sets in this guest.
    func checkWallTime() {
        let before = latestWallTime.load(ordering: .acquiring)
        let time = now(CLOCK_REALTIME)
        if time < before { goBack("real-time", before, time) }
        latestWallTime.max(time, ordering: .acquiringAndReleasing)
    }

    private func goBack(_ clock: String, _ before: Int64, _ time: Int64) {
        let count = backwards.add(1, ordering: .relaxed).newValue
        if count <= 5 { say("workload: BAD \(clock) clock: \(time) ns after \(before) ns") }
    }
}

/// What can be changed while it runs.
final class Controls: Sendable {
    /// MB/s times 1000; `Int.max` for no limit.
    let rate: Atomic<Int>
    let hotPages: Atomic<Int>
    let isSequential: Atomic<Bool>
    let isStopping = Atomic<Bool>(false)
    /// Asks a dirtying thread to change one bit that it should not, to show that this is noticed.
    let spoils = Atomic<Bool>(false)

    init(_ options: Options) {
        rate = Atomic(Self.thousandths(options.rate))
        hotPages = Atomic(256 * (options.hot == 0 ? options.memory : min(options.hot, options.memory)))
        isSequential = Atomic(options.pattern == .sequential)
    }

    static func thousandths(_ rate: Double) -> Int {
        rate >= 1e12 ? .max : Int(rate * 1000)
    }
}
