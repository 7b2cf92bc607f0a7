internal import LinuxSystem
internal import Synchronization

/// Makes virtual CPUs wait that dirty more than they may: the stun and the dirty limit.
///
/// A thread of its own looks once a period at what each virtual CPU has dirtied, and holds those that are in debt. It
/// runs while an allowance is set, and no virtual CPU is held afterwards.
final class DirtyGovernor: Sendable {
    private let threads: VirtualCPUThreads
    /// Pages that each virtual CPU has dirtied so far.
    private let count: @Sendable () throws -> [Int]
    private let state = Mutex(State())
    private let changed = Gate()

    private struct State {
        var allowance: DirtyAllowance?
        var thread: BlockingThread?
        /// How long each virtual CPU was held, since the first was.
        var held: [Int64] = []
    }

    /// How long each virtual CPU has been held so far; empty if none ever was.
    var heldTimes: [Duration] { state.withLock { $0.held }.map { .nanoseconds($0) } }

    /// - Parameter count: pages dirtied so far, one entry for each virtual CPU; never goes back. On any thread.
    init(threads: VirtualCPUThreads, count: @escaping @Sendable () throws -> [Int]) {
        self.threads = threads
        self.count = count
    }

    /// Sets what each virtual CPU may dirty from now on; nil lets all run and waits until the thread has ended.
    ///
    /// For one thread at a time.
    func set(_ allowance: DirtyAllowance?) {
        let (isRunning, ended) = state.withLock { state in
            state.allowance = allowance
            let thread = allowance == nil ? state.thread.take() : nil
            return (state.thread != nil, thread)
        }
        changed.open()
        ended?.join()
        guard allowance != nil, !isRunning else { return }
        changed.close()
        // Without a thread there is no throttle: the migration then ends as its policy says, or by its timeout.
        let thread = try? BlockingThread(name: "dirty-governor") { [self] in run() }
        state.withLock { $0.thread = thread }
    }

    private func run() {
        var allowance: DirtyAllowance?
        var before = (try? count()) ?? []
        var last = monotonicNanoseconds
        var cost: Int64 = 0
        var isHeld = threads.cpus.map { _ in false }
        while let wanted = state.withLock({ $0.allowance }) {
            if allowance?.pagesPerPeriod != wanted.pagesPerPeriod || allowance?.period != wanted.period {
                allowance = wanted
            }
            // Where looking itself takes long, as in the log of a large memory, it is done less often.
            changed.wait(for: max(wanted.period, .nanoseconds(8 * cost)))
            changed.close()
            if state.withLock({ $0.allowance }) == nil { break }
            let start = monotonicNanoseconds
            guard let now = try? count() else { continue }
            cost = monotonicNanoseconds - start
            let dirtied = zip(now, before).map { $0 - $1 }
            addHeld(isHeld, for: start - last)
            let waits = allowance?.charge(dirtied, elapsed: .nanoseconds(start - last)) ?? []
            for (index, waits) in waits.enumerated() { threads.hold(waits, index) }
            isHeld = waits
            before = now
            last = start
        }
        for index in threads.cpus.indices { threads.hold(false, index) }
        addHeld(isHeld, for: monotonicNanoseconds - last)
    }

    private func addHeld(_ isHeld: [Bool], for nanoseconds: Int64) {
        guard isHeld.contains(true) else { return }
        state.withLock { state in
            if state.held.isEmpty { state.held = isHeld.map { _ in 0 } }
            for (index, isHeld) in isHeld.enumerated() where isHeld && index < state.held.count {
                state.held[index] += nanoseconds
            }
        }
    }
}
