import Foundation
import LinuxSystem

/// A running `apus migrate --json`.
struct MigrateProcess {
    let process: TestProcess
    private let output: Transcript
    private let errors: String

    /// What came of it.
    struct Result {
        let status: Int32
        /// The object `report` of its last line; null when there is none.
        let report: JSON
        /// Every line.
        let lines: [JSON]
        let errors: String

        var outcome: String { report["outcome"]?.string ?? "" }
        var reasons: String {
            guard case .array(let reasons)? = report["reasons"] else { return "" }
            return reasons.compactMap(\.string).joined(separator: " ")
        }
        /// Milliseconds, as the source says.
        var downtime: Double? { if case .number(let value)? = report["downtime-ms"] { value } else { nil } }
        var totalTime: Double? { if case .number(let value)? = report["total-ms"] { value } else { nil } }
    }

    init(_ name: String, in bench: Workbench, _ arguments: [String]) throws {
        errors = bench.path("\(name).stderr")
        (process, output) = try bench.runWithTranscript(name, [apus, "migrate", "--json"] + arguments)
    }

    /// Waits until a line says that the source's migration has this status.
    func waitForStatus(_ status: String, within limit: TimeLimit = .seconds(60)) throws {
        try output.wait(forLine: #"{"status": "\#(status)"}"#, within: limit)
    }

    /// Waits until it has ended.
    func result(within limit: TimeLimit = .seconds(120)) throws -> Result {
        let status = try process.waitForExit(within: limit)
        try output.waitForEnd(within: .seconds(10))
        let lines = output.text.split(separator: "\n").compactMap {
            try? JSONDecoder().decode(JSON.self, from: Data($0.utf8))
        }
        return Result(
            status: status, report: lines.last?["report"] ?? .null, lines: lines,
            errors: (try? String(contentsOfFile: errors, encoding: .utf8)) ?? "")
    }
}

extension Workbench {
    /// Starts `apus migrate` for two monitors; `options` begin with the address.
    func startMigration(
        _ name: String, from source: ApusMonitor, to destination: ApusMonitor?, _ options: [String]
    ) throws -> MigrateProcess {
        let sides = destination.map { ["--destination-qmp", "unix:\($0.qmpPath)"] } ?? []
        return try MigrateProcess(name, in: self, ["--qmp", "unix:\(source.qmpPath)"] + sides + options)
    }

    /// Runs `apus migrate` to its end.
    func migrate(
        _ name: String, from source: ApusMonitor, to destination: ApusMonitor?, _ options: [String]
    ) throws -> MigrateProcess.Result {
        try startMigration(name, from: source, to: destination, options).result()
    }
}
