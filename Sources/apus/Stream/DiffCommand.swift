import ArgumentParser
import Foundation
import MigrationStream
import StreamTools

struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Tell which pages of memory and which fields of devices differ between two streams.",
        discussion: """
            What is compared is the guests, not how the streams tell of them: passes, kinds of page records and the \
            order of sections make no difference. The memory of both goes into sparse temporary files in $TMPDIR.

              $ apus stream diff before.mig after.mig
              $ apus stream diff --json a.mig captured/ | jq '.devices[].fields[].path'

            Exit status: 0 if they are the same, 1 if they differ, 2 if one cannot be read.
            """)

    @Argument(help: ArgumentHelp("A stream, '-' for standard input, or a folder of the relay.", valueName: "left"))
    var left: String

    @Argument(help: ArgumentHelp("Another one.", valueName: "right"))
    var right: String

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print nothing; only the exit status tells.")
    var quiet = false

    func run() throws {
        let progress = ProgressBar("comparing")
        let folder = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        let difference: StreamDifference
        do {
            difference = try StreamDifference(
                left: source(left), right: source(right), temporaryFolder: folder, report: progress.update)
        } catch {
            progress.finish()
            say("apus: \(error)")
            throw ExitCode(2)
        }
        progress.finish()
        if !quiet { try write(json ? difference.json.text + "\n" : difference.text) }
        if !difference.isEmpty { throw ExitCode(1) }
    }

    private func source(_ path: String) throws -> StreamSource {
        do { return try StreamSource(path) } catch { throw SideError(path: path, reason: error) }
    }
}
