public import QMP

/// How far a migration is, for whoever shows it.
public struct MigrationProgress: Equatable, Sendable {
    public var elapsed: Duration
    public var info: MigrationInfo
    /// What the destination said last of a post-copy, if it was asked.
    public var arriving: PostcopyInformation?
    /// Bytes per second since the last progress, by this side's clock.
    public var rate: Double

    /// The pass that is being sent, 0 before the first.
    public var pass: Int { Int(clamping: info.ram?.dirtySyncCount ?? 0) }
    /// Bytes per second that the guest dirties.
    public var dirtyRate: Double { Double(info.ram?.dirtyPagesRate ?? 0) * Double(info.ram?.pageSize ?? 0) }
    /// The part of memory that needs not be sent any more, 0...1.
    public var share: Double {
        guard let ram = info.ram, ram.total > 0 else { return 0 }
        return max(0, 1 - Double(ram.remaining) / Double(ram.total))
    }
}

/// What a migration tells while it runs.
public enum MigrationReport: Equatable, Sendable {
    /// About ten times a second.
    case progress(MigrationProgress)
    /// The state at the source changed.
    case status(MigrationStatus)
    /// Something that was done or seen, one sentence.
    case note(String)
    /// The guest stands still at the source until `proceed` is called, or somebody else says so to the monitor.
    case waitsBeforeSwitchover
}
