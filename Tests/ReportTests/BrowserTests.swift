import Foundation
import QMP
import Report
import Testing

/// The page in a real browser: at a telephone's width, dark, and its numbers beside the JSON's.
@Suite("The page of a report in a browser") struct BrowserTests {
    static let hasBrowser = ["chromium", "chromium-browser", "google-chrome"].contains { name in
        (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
            .contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }
    }

    @Test(.enabled(if: hasBrowser, "needs Chromium (Debian package chromium)"))
    func `of three moves is right on a telephone, a desk and paper, and has the numbers of the JSON`() throws {
        try check(comparison([precopyMove(), postcopyMove(), postcopyMove()]))
    }

    @Test(.enabled(if: hasBrowser, "needs Chromium (Debian package chromium)"))
    func `is drawn without an error, and nothing in it is wider than a telephone`() throws {
        var many = precopyMove()
        many.transport = "a-transport-with-a-long-name"
        let failed = Move(
            mode: .postcopy, transport: "tcp", failure: String(repeating: "nowhere/to/break/this/line", count: 10))
        try check(comparison([precopyMove(), postcopyMove(), many, failed]))
    }

    /// Lets the script look at the page.
    private func check(_ comparison: Comparison) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "apus-page-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (page, json) = (folder.appending(path: "page.html"), folder.appending(path: "result.json"))
        try Data(ReportPage(comparison).html.utf8).write(to: page)
        try Data(comparison.json.text.utf8).write(to: json)
        let process = Process()
        let root = URL(filePath: #filePath).appending(path: "../../..").standardizedFileURL
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [
            "python3", root.appending(path: "Scripts/support/check_report.py").path, page.path, json.path,
        ]
        let output = folder.appending(path: "output")
        try Data().write(to: output)
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = process.standardOutput
        try process.run()
        process.waitUntilExit()
        let complaints = try String(contentsOf: output, encoding: .utf8)
        #expect(complaints == "")
        #expect(process.terminationStatus == 0)
    }
}
