import Foundation
import Testing

/// The manual pages that Scripts/install-apus makes out of this program.
@Suite("The manual pages") struct ManualTests {
    private let folder = CommandFolder()

    @Test func `are one for each command, with its options, defaults and examples`() throws {
        let result = try make()
        #expect(result.status == 0, "\(result.output)")
        let names = result.output.split(separator: "\n").map(String.init).sorted()
        let commands = [
            "", "-compare", "-doctor", "-guest", "-migrate", "-qmp", "-run", "-stream", "-stream-check", "-stream-diff",
            "-stream-extract", "-stream-relay", "-stream-rewrite", "-stream-show",
        ]
        #expect(names == commands.map { "apus\($0).1" }.sorted())
        let compare = try page("apus-compare.1")
        for text in [
            "apus\\-compare \\- Move a running guest in every mode", "\\fB\\-q\\fP, \\fB\\-\\-quiet\\fP\n",
            "Guest memory. Default: 256M.\n", ".SH EXAMPLES\n",
            "apus compare \\-\\-transports tcp,unix \\-\\-rounds 3\n",
            ".SH EXIT STATUS\n.PP\n0 every move succeeded", "\\fBapus\\-migrate\\fP(1)",
        ] { #expect(compare.contains(text), "\(text)") }
        let run = try page("apus-run.1")
        #expect(run.contains("[\\fB\\-\\-rng\\fP\\ |\\ \\fB\\-\\-no\\-rng\\fP]"))
        #expect(!run.contains("fail\\-device"))
        #expect(try page("apus.1").contains(".TP\n\\fBapus\\-stream\\fP(1)\n"))
    }

    @Test func `lose no line to roff`() throws {
        let names = try make().output.split(separator: "\n").map(String.init)
        #expect(!names.isEmpty)
        let requests: Set<String> = [".TH", ".nh", ".ad", ".SH", ".SS", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi"]
        for name in names {
            for line in try page(name).split(separator: "\n") where line.hasPrefix(".") || line.hasPrefix("'") {
                #expect(requests.contains(String(line.prefix(3))), "\(name): \(line)")
            }
        }
    }

    private func page(_ name: String) throws -> String {
        try String(contentsOfFile: folder.path("man/\(name)"), encoding: .utf8)
    }

    private func make() throws -> (status: Int32, output: String) {
        let script = URL(filePath: #filePath).appending(path: "../../../Scripts/support/manual.py").standardizedFileURL
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3", script.path, apusPath, folder.path("man")]
        let output = folder.path("output")
        try Data().write(to: URL(filePath: output))
        process.standardOutput = try FileHandle(forWritingTo: URL(filePath: output))
        process.standardError = process.standardOutput
        try process.run()
        process.waitUntilExit()
        return (process.terminationStatus, try String(contentsOfFile: output, encoding: .utf8))
    }
}
