import Foundation
import LinuxSystem
import Testing

@testable import PeerSupport

/// A running `apus stream relay`.
struct RelayProcess {
    /// Where the source is to connect to.
    let address: String
    private let process: TestProcess
    private let bench: Workbench
    private let output: Transcript

    fileprivate init(process: TestProcess, bench: Workbench, output: Transcript) throws {
        let line = try output.waitForFirstLine(within: .seconds(30))
        guard line.hasPrefix("listening ") else { throw PeerError("The relay says '\(line)'.") }
        address = String(line.dropFirst("listening ".count))
        self.process = process
        self.bench = bench
        self.output = output
    }

    /// Ends it at once, as a link that is cut.
    func kill() { process.killAndWait() }

    /// Waits until it has ended by itself, expects `status`, and returns what it printed.
    func waitForReport(
        expectingStatus status: Int32 = 0, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> String {
        let found = try process.waitForExit(within: .seconds(60))
        try output.waitForEnd(within: .seconds(10))
        #expect(found == status, "\(output.text) \(bench.complaints(of: "relay"))", sourceLocation: sourceLocation)
        return output.text
    }
}

extension Workbench {
    /// Lets `destination` listen, and starts a relay to it that records into the folder `records`.
    func startRelay(to destination: QEMU, options: [String] = []) throws -> RelayProcess {
        let wire = path("\(destination.name).wire")
        try destination.qmp.execute("migrate-incoming", ["uri": .string("unix:\(wire)")])
        return try startRelay(to: wire, listeningOn: "relay.wire", recordingInto: "records", options: options)
    }

    /// Lets `destination` listen for a recovery, and starts another relay to it, recording into `recovery-records`.
    func startRecoveryRelay(to destination: QEMU) throws -> RelayProcess {
        let wire = path("\(destination.name).recovery")
        try destination.qmp.execute("migrate-recover", ["uri": .string("unix:\(wire)")], outOfBand: true)
        return try startRelay(to: wire, listeningOn: "recovery.wire", recordingInto: "recovery-records")
    }

    private func startRelay(
        to wire: String, listeningOn name: String, recordingInto records: String, options: [String] = []
    ) throws -> RelayProcess {
        try FileManager.default.createDirectory(atPath: path(records), withIntermediateDirectories: true)
        let arguments = [
            apus, "stream", "relay", "--announce", "--listen", "unix:\(path(name))", "--connect",
            "unix:\(wire)", "--record", path(records),
        ]
        let (process, output) = try runWithTranscript("relay", arguments + options)
        return try RelayProcess(process: process, bench: self, output: output)
    }
}
