internal import LinuxSystem
internal import Synchronization

/// Threads of the kernel that wait for pages in the place of virtual CPUs, made as urgent as the threads that serve them.
///
/// KVM lets a thread of the kernel wait for a page (asynchronous page faults: see `PageWaits`), one of those that do all
/// kinds of work on their processor, with the usual niceness. While pages are pushed this processor is taken by threads
/// with a lower one: a page was there, and the guest waited for it tens of milliseconds longer.
///
/// All guests of the host share these threads. Whoever makes one urgent makes it as it was again, others leave it alone; a
/// process that is killed leaves it urgent.
final class StandIns: Sendable {
    private let state = Mutex(State())

    private struct State {
        /// All that were seen waiting.
        var seen: Set<Int32> = []
        var raised = RaisedThreads()
    }

    /// `number` waits, and is not of this process. Takes time only for those that are seen for the first time.
    func hurry(_ number: Int32) {
        state.withLock { state in
            guard state.seen.insert(number).inserted else { return }
            let thread = ThreadIdentity(number: number)
            // Threads of other processes are theirs.
            if thread.isOfKernel { state.raised.raise(thread, to: ThreadUrgency.highest) }
        }
    }

    /// All have waited: they are as they were.
    func release() {
        state.withLock { state in
            state.raised.release()
            state.seen = []
        }
    }
}
