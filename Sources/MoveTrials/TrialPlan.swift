public import Report

/// What is the same in all moves that are compared.
public struct TrialPlan: Equatable, Sendable {
    public enum Guest: Equatable, Sendable {
        /// Of this program: needs no Linux.
        case builtIn
        /// A Linux whose workload prints `workload:` lines, as `Scripts/guest` makes it; others move too, and tell nothing.
        case linux(kernel: String, initrd: String?, commandLine: String)
    }

    /// A way for the guest's memory to go.
    public enum Transport: String, Sendable, CaseIterable {
        case tcp
        case unix
        case fd
    }

    public var guest = Guest.builtIn
    /// The program that runs the guests; nil: this one.
    public var program: String?
    public var workload: Workload
    public var memoryMebibytes = 256
    public var cpuCount = 1
    /// A network card's tap for each side, on one bridge; empty: the guest has no network.
    public var taps: [String] = []
    /// The guest's address on that bridge, which is asked for answers all the time.
    public var guestAddress: String?
    public var modes = Move.Mode.allCases
    public var transports = [Transport.tcp]
    public var roundCount = 1
    /// MiB a second; 0: no limit.
    public var bandwidth = 256
    /// Milliseconds.
    public var downtimeLimit = 50
    public var channelCount: Int?
    /// Slows a guest down that writes faster than pre-copy sends.
    public var hasAutoConverge = false
    /// How long one move may take.
    public var limit = Duration.seconds(60)

    public init(workload: Workload) { self.workload = workload }

    /// Whether the guest is one of ours, whose lines tell of its work: a run without them is no result.
    var guestReports: Bool {
        switch guest {
        case .builtIn: true
        case .linux(_, _, let commandLine): commandLine.contains("workload.")
        }
    }

    /// Words for the heading of the report.
    public var conditions: [Comparison.Condition] {
        var conditions: [Comparison.Condition] = []
        let kind = guest == .builtIn ? "the built-in guest" : "Linux"
        let cpus = cpuCount == 1 ? "1 virtual CPU" : "\(cpuCount) virtual CPUs"
        conditions.append(.init("Guest", "\(kind), \(cpus), \(memoryMebibytes) MiB"))
        switch guest {
        case .builtIn: conditions.append(.init("Work", workload.description))
        case .linux(_, _, let commandLine):
            let words = commandLine.split(separator: " ").filter { $0.hasPrefix("workload.") }
                .map { $0.dropFirst("workload.".count) }
            if !words.isEmpty { conditions.append(.init("Work", words.joined(separator: ", "))) }
        }
        let rate = bandwidth == 0 ? "not limited" : "limited to \(bandwidth) MiB/s"
        conditions.append(.init("Link", "on this host, \(rate)" + (channelCount.map { ", \($0) channels" } ?? "")))
        conditions.append(.init("Downtime limit", "\(downtimeLimit) ms"))
        if hasAutoConverge { conditions.append(.init("Throttle", "auto-converge")) }
        conditions.append(.init("Rounds", "\(roundCount)"))
        return conditions
    }
}
