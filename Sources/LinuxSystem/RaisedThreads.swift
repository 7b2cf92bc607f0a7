/// Threads that were made more urgent, and how urgent each was.
///
/// Who makes a thread urgent makes it as it was again. A process that is killed leaves those of others as they are.
public struct RaisedThreads: Sendable {
    private var usual: [ThreadIdentity: Int32] = [:]

    public init() {}

    /// Makes a thread as urgent as `niceness`, if that is permitted and it is not already.
    public mutating func raise(_ thread: ThreadIdentity, to niceness: Int32) {
        guard let before = ThreadUrgency.niceness(of: thread), before > niceness,
            ThreadUrgency.set(niceness: niceness, of: thread)
        else { return }
        usual[thread] = usual[thread] ?? before
    }

    /// Makes a thread go `steps` of niceness before where it stands.
    public mutating func raise(_ thread: ThreadIdentity, by steps: Int32) {
        guard let niceness = ThreadUrgency.niceness(of: thread) else { return }
        raise(thread, to: max(niceness - steps, ThreadUrgency.highest))
    }

    /// Makes all as they were.
    public mutating func release() {
        for (thread, niceness) in usual { ThreadUrgency.set(niceness: niceness, of: thread) }
        usual = [:]
    }
}
