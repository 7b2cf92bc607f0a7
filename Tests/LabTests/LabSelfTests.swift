import Foundation
import Testing

/// `Scripts/lab-selftest` as tests: it proves the ground on which tests with Linux guests stand.
@Suite("Lab", .serialized, .enabled(if: LabSelfTest.obstacle == nil, LabSelfTest.comment))
struct LabSelfTests {
    @Test(.timeLimit(.minutes(10))) func `a lab ends cleanly however it ends, and says how`() throws {
        try LabSelfTest.expectAllTrue(of: "ends")
    }

    @Test(.timeLimit(.minutes(20))) func `two hosts, their network, RDMA and QEMU's migrations between them`() throws {
        try LabSelfTest.expectAllTrue(of: "hosts", "rdma", "migration")
    }

    @Test(.timeLimit(.minutes(40))) func `Linux boots, works, resets and ends under Apus`() throws {
        try LabSelfTest.expectAllTrue(of: "boots")
    }
}

/// One run of the script, whose lines are `ok    sentence (1.2 s)` or `FAIL  sentence (1.2 s)`.
enum LabSelfTest {
    static let obstacle: String? = {
        guard let (status, lines) = try? run("lab", ["prepare"]) else { return "Scripts/lab cannot be run" }
        return status == 0 ? nil : lines.joined(separator: " ")
    }()

    /// Said without trying: tests are listed, with their comments, before any is chosen.
    static let comment: Comment = "the lab cannot start here; `Scripts/lab prepare` says why"

    static func expectAllTrue(of groups: String...) throws {
        let (status, lines) = try run("lab-selftest", groups)
        for line in lines { print(line) }
        for index in lines.indices where lines[index].hasPrefix("FAIL") {
            let reason = index > lines.startIndex ? lines[index - 1].trimmingCharacters(in: .whitespaces) : ""
            Issue.record("\(lines[index].dropFirst(6)): \(reason)")
        }
        #expect(status == 0, "\(lines.suffix(3).joined(separator: "\n"))")
        #expect(lines.contains { $0.hasPrefix("ok") }, "nothing was tested: \(lines)")
    }

    /// Runs a script of the project; its status, and the lines that it wrote to either stream.
    private static func run(_ name: String, _ arguments: [String]) throws -> (status: Int32, lines: [String]) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Scripts/\(name)")
        process.arguments = arguments
        let output = Pipe()
        (process.standardOutput, process.standardError) = (output, output)
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text.split(separator: "\n").map(String.init))
    }
}
