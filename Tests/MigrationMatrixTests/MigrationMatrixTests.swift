import BuiltInGuest
import Foundation
import GuestSupport
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// Every transport, with and without channels, virtual CPUs and dirty rates: real processes of `apus run`, moved by
/// `apus migrate`. One guest of each kind goes from process to process.
@Suite("Migration matrix", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct MigrationMatrixTests {
    /// A guest and how much it writes.
    struct Course: Sendable, CustomTestStringConvertible {
        enum Load: String, CaseIterable {
            case low, medium
            case aboveBandwidth = "above the bandwidth"
        }
        let cpuCount: Int
        let load: Load
        var testDescription: String { "\(cpuCount) virtual CPUs, \(load.rawValue)" }

        var parameters: BuiltInGuestParameters {
            var parameters = BuiltInGuestParameters()
            parameters.regionMebibytes = 16
            parameters.checkRate = .mebibytesPerSecond(100)
            parameters.period = 200
            // A guest that sleeps leaves the host's CPUs to the migration.
            parameters.sleepsWhenIdle = load != .aboveBandwidth
            switch load {
            case .low: parameters.dirtyRate = .mebibytesPerSecond(4)
            case .medium: parameters.dirtyRate = .mebibytesPerSecond(30)
            case .aboveBandwidth:
                parameters.dirtyRate = .unlimited
                parameters.pattern = .hot(mebibytes: 8)
            }
            return parameters
        }

        /// What lets the migration end although the guest writes much faster than it is sent, by turns.
        func options(_ index: Int) -> [String] {
            guard load == .aboveBandwidth else { return [] }
            let endings = [
                [
                    "--downtime-limit", "60", "--timeout", "10", "--auto-converge", "--auto-converge-initial", "90",
                    "--auto-converge-increment", "9",
                ],
                ["--ending", "classic"], ["--downtime-limit", "60", "--timeout", "10", "--throttle", "stun"],
                ["--downtime-limit", "20", "--timeout", "1"],
            ]
            return ["--bandwidth", "64"] + endings[index % endings.count]
        }
    }

    static let courses = [1, 2, 4].flatMap { cpuCount in
        Course.Load.allCases.map { Course(cpuCount: cpuCount, load: $0) }
    }

    /// An address and the options that belong to it.
    private func ways(_ bench: Workbench, _ number: Int) -> [(name: String, options: [String])] {
        let fifo = bench.path("fifo\(number)")
        let file = bench.path("file\(number)")
        let socket = bench.path("wire\(number)")
        return [
            ("tcp", ["tcp:127.0.0.1:0"]),
            ("tcp, 4 channels", ["tcp:127.0.0.1:0", "--channels", "4"]),
            ("unix", ["unix:\(socket)"]),
            ("unix, 4 channels", ["unix:\(socket)m", "--channels", "4"]),
            ("fd", ["fd:migration"]),
            ("fd, 4 channels", ["fd:migration", "--channels", "4"]),
            ("tcp, 2 channels, no copies", ["tcp:127.0.0.1:0", "--channels", "2", "--zero-copy"]),
            ("exec", ["exec:cat >\(fifo)", "--listen", "exec:cat \(fifo)"]),
            ("file", ["file:\(file)"]),
        ]
    }

    @Test(arguments: courses)
    func `a guest that works moves over every transport, and nothing of it is lost`(course: Course) throws {
        try Workbench.use { bench in
            let shape = MonitorShape(mebibytes: 64, cpuCount: course.cpuCount)
            var current = try bench.startGuest("m0", shape, course.parameters)
            try current.waitForReports(2)
            for (index, way) in ways(bench, 0).enumerated() {
                let label = "\(course.testDescription), \(way.name)"
                if way.name == "exec" { mkfifo(bench.path("fifo0"), 0o600) }
                let next = try bench.startDestination("m\(index + 1)", shape)
                let result = try bench.migrate(
                    "hop\(index)", from: current, to: next, way.options + course.options(index))
                try #require(
                    result.status == 0,
                    "\(label): \(result.reasons) \(result.errors) \(current.complaints) \(next.complaints)")
                #expect(try current.runState() == "postmigrate", "\(label)")
                #expect(try next.runState() == "running", "\(label)")
                let last = try #require(current.reports.last)
                let arrived = try ArrivedGuest(from: current, to: next)
                arrived.expectWhole(after: last, label)
                if way.name != "file" { arrived.expectGap(toFit: result, label) }
                try current.quit()
                current = next
            }
        }
    }
}

/// The reports of a guest after a move, of which the first may have begun at the source.
struct ArrivedGuest {
    let reports: [BuiltInGuestLine.Report]

    init(from source: ApusMonitor, to destination: ApusMonitor) throws {
        try destination.waitForReports(2)
        let begun = source.serial.text.split(separator: "\n", omittingEmptySubsequences: false).last ?? ""
        let text = begun + destination.serial.text
        reports = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().compactMap {
            if case .report(let report)? = BuiltInGuestLine($0) { report } else { nil }
        }
    }

    /// It goes on where it was, and its checks find nothing.
    func expectWhole(
        after last: BuiltInGuestLine.Report, _ label: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        for report in reports {
            #expect(report.isClean, "\(label): \(report)", sourceLocation: sourceLocation)
            #expect(report.checkedPageCount >= last.checkedPageCount, "\(label)", sourceLocation: sourceLocation)
            #expect(report.dirtiedPageCount >= last.dirtiedPageCount, "\(label)", sourceLocation: sourceLocation)
        }
    }

    /// The guest's longest gap is the monitor's downtime, as far as a loaded host lets one see that.
    func expectGap(
        toFit result: MigrateProcess.Result, _ label: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        guard let downtime = result.downtime, let longest = reports.prefix(2).map(\.gap).max() else {
            Issue.record("\(label): no downtime or no report", sourceLocation: sourceLocation)
            return
        }
        // Of two reports, because a line that was being printed tells it in the next one.
        let gap = Double(longest) / 1000
        print("\(label): total \(result.totalTime ?? 0) ms, downtime \(downtime) ms, the guest's gap \(gap) ms")
        // While it is being paused it may still run, and a host with few CPUs lets it wait before and after.
        #expect(gap > downtime * 0.5 - 5, "\(label): \(downtime) ms, gap \(gap) ms", sourceLocation: sourceLocation)
        #expect(gap < downtime + 2000, "\(label): \(downtime) ms, gap \(gap) ms", sourceLocation: sourceLocation)
    }
}
