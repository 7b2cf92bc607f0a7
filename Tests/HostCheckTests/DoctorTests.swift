import Foundation
import HostCheck
import LinuxSystem
import Testing

/// The program, built beside the tests.
private let program: String? = {
    let path = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
    let beside =
        path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/apus"
    return FileSystem.exists(beside) ? beside : nil
}()

/// Runs a program; what it printed, and how it ended.
private func run(_ program: String, _ arguments: [String]) throws -> (text: String, ending: ChildProcess.Ending?) {
    let pipe = try OwnedDescriptor.pipe()
    let null = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
    let process = try ChildProcess(
        program: program, arguments: arguments,
        descriptors: [.init(null.number, as: 0), .init(pipe.writing.number, as: 1), .init(null.number, as: 2)])
    let ending = try process.wait(for: .seconds(30))
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    let count = try buffer.withUnsafeMutableBytes { try pipe.reading.read(into: $0) }
    return (String(decoding: buffer.prefix(count), as: UTF8.self), ending)
}

private func isClosedToOthers(_ path: String) -> Bool {
    let attributes = try? FileManager.default.attributesOfItem(atPath: path)
    guard let permissions = attributes?[.posixPermissions] as? Int else { return false }
    return permissions & 0o6 == 0
}

@Suite("Doctor") struct DoctorTests {
    @Test func `says the same in every finding as in its conclusion`() throws {
        let report = HostReport()
        let verdicts = Dictionary(uniqueKeysWithValues: report.findings.map { ($0.name, $0.verdict) })
        #expect(
            Set(verdicts.keys) == [
                "kvm", "linux-guests", "dirty-log", "dirty-ring", "userfaultfd", "huge-pages", "memory", "rdma", "tap",
                "qemu", "lab",
            ])
        #expect((verdicts["linux-guests"] == .good) == (report.ground == .linuxGuests))
        #expect((verdicts["kvm"] == .missing) == (report.ground == .anywhere))
        #expect((verdicts["qemu"] != .missing) == (FileSystem.program("qemu-system-x86_64") != nil))
        #expect(report.findings.allSatisfy { $0.verdict == .good || $0.remedy?.isEmpty != true })
        #expect(report.findings.allSatisfy { !$0.reason.isEmpty && !$0.reason.contains("\n") })
    }

    @Test func `takes well under a second`() {
        let start = ContinuousClock.now
        let report = HostReport()
        let time = ContinuousClock.now - start
        #expect(!report.findings.isEmpty)
        // The limit is wide because tests share the host with builds; a quiet one takes 0.1 to 0.2 s.
        #expect(time < .seconds(5))
    }

    @Test(.enabled(if: program != nil, "the program is not built"))
    func `prints JSON that reads back as a report, and the exit status that belongs to it`() throws {
        let result = try run(try #require(program), ["doctor", "--json"])
        let report = try JSONDecoder().decode(HostReport.self, from: Data(result.text.utf8))
        #expect(report.findings.count == 11)
        #expect(result.ending == .exited(status: report.isUsable ? 0 : 1))
    }

    @Test(
        .enabled(if: program != nil, "the program is not built"),
        .enabled(if: FileSystem.userID == 0, "only root can become someone else"),
        .enabled(if: FileSystem.program("setpriv") != nil, "setpriv is not there"),
        .enabled(if: isClosedToOthers("/dev/kvm"), "there is no /dev/kvm that is closed to others"))
    func `a user without permission is told so, with the remedy, and status 1`() throws {
        let copy = "/tmp/apus-doctor-test-\(ProcessInfo.processInfo.processIdentifier)"
        // The build folder may be closed to others.
        try FileManager.default.copyItem(atPath: try #require(program), toPath: copy)
        defer { try? FileManager.default.removeItem(atPath: copy) }
        let result = try run(
            "setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", copy, "doctor", "--json"])
        let report = try JSONDecoder().decode(HostReport.self, from: Data(result.text.utf8))
        let kvm = try #require(report.findings.first { $0.name == "kvm" })
        #expect(result.ending == .exited(status: 1))
        #expect(report.ground == .anywhere)
        #expect(kvm.verdict == .missing)
        #expect(kvm.reason == "open /dev/kvm: Permission denied")
        #expect(kvm.remedy == "add the user to the group kvm")
    }
}
