internal import LinuxSystem
internal import MigrationClient
internal import MigrationRecords
internal import QMP
internal import QMPClient

/// One `apus run` of a trial.
final class MonitorProcess: Sendable {
    let side: MigrationRecord.Side
    private let process: ChildProcess
    private let socketPath: String
    private let errorPath: String

    /// Starts `program`, or this one, as a monitor whose guest's serial line goes to `lines`.
    init(
        _ side: MigrationRecord.Side, _ program: String?, _ arguments: [String], in folder: TemporaryFolder,
        lines: GuestLines
    ) throws {
        self.side = side
        socketPath = folder.file("\(side.rawValue).qmp")
        errorPath = folder.file("\(side.rawValue).errors")
        let pipe = try OwnedDescriptor.pipe()
        let nothing = try OwnedDescriptor(opening: "/dev/null", for: .reading)
        let errors = try OwnedDescriptor(opening: errorPath, for: .replacing)
        process = try ChildProcess(
            program: program ?? FileSystem.ownProgram,
            arguments: ["run", "--name", "trial", "--qmp", "unix:\(socketPath)", "--serial", "stdio"] + arguments,
            descriptors: [
                .init(nothing.number, as: 0), .init(pipe.writing.number, as: 1), .init(errors.number, as: 2),
            ], endsWithThisProcess: true)
        try lines.read(try pipe.reading.duplicate(), from: side)
    }

    /// Waits until it serves QMP, and connects.
    ///
    /// - Throws: `TrialFailure` with the monitor's own words if it ends instead.
    func connect(within limit: Duration = .seconds(30)) async throws -> MonitorLink {
        let deadline = ContinuousClock.now + limit
        while true {
            if FileSystem.exists(socketPath), let link = try? await MonitorLink.connect(to: socketPath, as: side) {
                return link
            }
            if process.poll() != nil { throw TrialFailure("The \(side.rawValue)'s monitor ended: \(lastWords).") }
            if ContinuousClock.now > deadline {
                throw TrialFailure("The \(side.rawValue)'s monitor does not answer within \(limit / .seconds(1)) s.")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// What it said last on standard error.
    var lastWords: String {
        let lines = (FileSystem.text(of: errorPath) ?? "").split(separator: "\n")
        return lines.last.map(String.init) ?? "it said nothing"
    }

    /// Processor time so far without the virtual CPUs, whose threads are given.
    func cost(without virtualCPUs: [Int]) -> Duration? {
        let guest = virtualCPUs.map { ProcessorTime.ofThread($0, in: process.processID) ?? .zero }.reduce(.zero, +)
        return ProcessorTime.ofProcess(process.processID).map { max(.zero, $0 - guest) }
    }

    func kill() { process.kill() }

    /// Waits until it has ended; kills it when it does not.
    func end() async {
        process.terminate()
        let deadline = ContinuousClock.now + .seconds(5)
        while process.poll() == nil {
            if ContinuousClock.now > deadline { process.kill() }
            try? await Task.sleep(for: .milliseconds(5))
        }
    }
}

/// Why a trial failed: one sentence.
struct TrialFailure: Error, Equatable, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

extension MonitorLink {
    /// The threads of the guest's virtual CPUs.
    func virtualCPUThreads() async throws -> [Int] {
        let answer = try await client.execute("query-cpus-fast").arrayValue ?? []
        return answer.compactMap { $0["thread-id"]?.integerValue.map { Int($0) } }
    }
}
