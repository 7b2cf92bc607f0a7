// HostCheck: what this host can do for guests and their migration, and what would have to be done about the rest.
//
// Read HostReport and Finding. It tries things rather than looking at versions; nothing it does leaves a trace.

/// One thing that was looked at.
public struct Finding: Codable, Equatable, Sendable {
    public enum Verdict: String, Codable, Sendable {
        /// As good as it gets.
        case good
        /// There, but not all of it.
        case limited
        /// Not there, or not usable.
        case missing
    }

    /// A name for programs: "kvm", "linux-guests".
    public let name: String
    /// A name for people.
    public let title: String
    public let verdict: Verdict
    /// What was found, one line.
    public let reason: String
    /// What to do about it, one line; nil if there is nothing to do.
    public let remedy: String?
    /// Whether running and moving guests needs it.
    public let isEssential: Bool

    public init(
        _ name: String, _ title: String, _ verdict: Verdict, _ reason: String, remedy: String? = nil,
        isEssential: Bool = false
    ) {
        self.name = name
        self.title = title
        self.verdict = verdict
        self.reason = reason
        self.remedy = remedy
        self.isEssential = isEssential
    }
}
