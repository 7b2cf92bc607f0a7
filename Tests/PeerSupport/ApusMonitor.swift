import BuiltInGuest
import Foundation
import KVM
import LinuxSystem

/// A real `apus run`, with the built-in guest or waiting for it; QMP and serial line connected.
final class ApusMonitor: Sendable {
    let name: String
    let qmpPath: String
    let qmp: QMPConnection
    let serial: Transcript
    let process: TestProcess
    private let errors: String

    fileprivate init(_ name: String, in bench: Workbench, _ arguments: [String]) throws {
        self.name = name
        qmpPath = bench.path("\(name).qmp")
        errors = bench.path("\(name).stderr")
        (process, serial) = try bench.runWithTranscript(
            name, [apus, "run", "--qmp", "unix:\(qmpPath)", "--serial", "stdio"] + arguments)
        let limit = TimeLimit.seconds(60)
        while true {
            do {
                qmp = try QMPConnection(try Socket(connectingTo: .unix(path: qmpPath)), within: limit)
                break
            } catch {
                guard limit.remainingSeconds > 0, !process.hasEnded else {
                    throw PeerError("\(name) did not start: \(error) \(bench.complaints(of: name))")
                }
                // Nothing tells when it begins to listen.
                usleep(10_000)
            }
        }
        try setCapabilities(["events"])
    }

    /// What it has said on standard error.
    var complaints: String { (try? String(contentsOfFile: errors, encoding: .utf8)) ?? "" }

    /// What the guest has said.
    var lines: [BuiltInGuestLine] {
        serial.text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().compactMap {
            BuiltInGuestLine($0)
        }
    }

    /// The guest's reports.
    var reports: [BuiltInGuestLine.Report] {
        lines.compactMap { if case .report(let report) = $0 { report } else { nil } }
    }

    /// Waits until the guest has made `count` more reports than it has now; the new ones.
    @discardableResult
    func waitForReports(_ count: Int, within limit: TimeLimit = .seconds(60)) throws -> [BuiltInGuestLine.Report] {
        let before = reports.count
        return try waitForReports(upTo: before + count, within: limit).suffix(count)
    }

    /// Waits until the guest has made `count` reports in all; all of them.
    @discardableResult
    func waitForReports(upTo count: Int, within limit: TimeLimit = .seconds(60)) throws -> [BuiltInGuestLine.Report] {
        let found = serial.waitForChange(within: limit) { _ in
            let reports = self.reports
            return reports.count >= count ? reports : nil
        }
        guard let found else {
            throw PeerError("\(name) made no \(count) reports: \(serial.text.suffix(300)) \(complaints)")
        }
        return found
    }

    /// "running", "paused", …
    func runState() throws -> String { try qmp.execute("query-status")["status"]?.string ?? "" }

    /// Asks `query-migrate` until its status is one of `statuses`.
    @discardableResult
    func waitForMigration(status statuses: Set<String>, within limit: TimeLimit = .seconds(60)) throws -> JSON {
        var last = JSON.null
        let found = try qmp.ask("query-migrate", within: limit) { answer -> JSON? in
            last = answer
            guard let status = answer["status"]?.string, statuses.contains(status) else { return nil }
            return answer
        }
        guard let found else {
            throw PeerError("\(name)'s migration did not become \(statuses): \(last) \(complaints)")
        }
        return found
    }

    func setCapabilities(_ names: [String], to state: Bool = true) throws {
        let list = names.map { JSON.object(["capability": .string($0), "state": .bool(state)]) }
        try qmp.execute("migrate-set-capabilities", ["capabilities": .array(list)])
    }

    func kill() { process.killAndWait() }

    /// Asks it to quit and waits for its end; the exit status.
    @discardableResult
    func quit() throws -> Int32 {
        _ = try? qmp.execute("quit")
        return try process.waitForExit(within: .seconds(30))
    }
}

/// The machine that both sides have.
struct MonitorShape: Sendable {
    var mebibytes = 64
    var cpuCount = 1
    /// More of `apus run`'s options.
    var options: [String] = []
    /// Whether the memory is a memfd.
    var sharesMemory = false

    var arguments: [String] {
        let memory = "\(mebibytes)M" + (sharesMemory ? ",shared=on" : "")
        return ["--memory", memory, "--cpus", "\(cpuCount)"] + options
    }
}

extension Workbench {
    /// Starts `apus run` with the built-in guest, which ends by itself after some minutes.
    func startGuest(
        _ name: String, _ shape: MonitorShape, _ parameters: BuiltInGuestParameters
    ) throws -> ApusMonitor {
        var parameters = parameters
        parameters.cpuCount = shape.cpuCount
        if parameters.seconds == nil { parameters.seconds = 600 }
        parameters.tscFrequency = try Self.tscFrequency.get()
        let image = path("guest.elf")
        if !FileManager.default.fileExists(atPath: image) {
            try Data(BuiltInGuestImage.bytes).write(to: URL(fileURLWithPath: image))
        }
        let monitor = try ApusMonitor(
            name, in: self, shape.arguments + ["--kernel", image, "--cmdline", parameters.commandLine])
        return monitor
    }

    /// Starts `apus run` that waits for a guest.
    func startDestination(_ name: String, _ shape: MonitorShape, incoming: String = "defer") throws -> ApusMonitor {
        try ApusMonitor(name, in: self, shape.arguments + ["--incoming", incoming])
    }

    /// kHz; the guest measures it badly on a busy host.
    private static let tscFrequency = Result {
        try KVMSystem().makeVirtualMachine().makeVirtualCPU(index: 0).getTSCFrequency()
    }
}
