import ArgumentParser
import FoundationEssentials
import HostCheck
import LinuxSystem

struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what this host can do for guests and their migration.",
        discussion: """
            One line for each thing that was tried: good, limited or missing, what was found, and what to do about it.

            The exit status is 0 when everything is there that running and moving guests needs (KVM, its dirty log, \
            userfaultfd), even if limited; else 1.
            """)

    @Flag(help: "Print JSON: {\"ground\", \"findings\": [{\"name\", \"verdict\", \"reason\", \"remedy\", ...}]}.")
    var json = false

    func run() throws {
        let report = HostReport()
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            print(text(of: report))
        }
        if !report.isUsable { throw ExitCode(1) }
    }

    private func text(of report: HostReport) -> String {
        let width = (report.findings.map(\.title.count).max() ?? 0) + 2
        let lines = report.findings.map { finding in
            let title = finding.title + String(repeating: " ", count: width - finding.title.count)
            let verdict = finding.verdict.rawValue
            let remedy = finding.remedy.map { ". Remedy: \($0)" } ?? ""
            return "\(title)\(verdict)\(String(repeating: " ", count: 9 - verdict.count))\(finding.reason)\(remedy)"
        }
        let ground =
            switch report.ground {
            case .anywhere: "No guest runs here: only what needs none."
            case .smallGuests: "The built-in guest runs here, Linux guests in the lab."
            case .linuxGuests: "Linux guests run here."
            }
        return (lines + [ground]).joined(separator: "\n")
    }
}
