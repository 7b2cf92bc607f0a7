import ArgumentParser
import StreamTools

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Say whether a stream is whole, and if not, where it stops being so.",
        discussion: """
            Everything is decoded: every record, XBZRLE updates, compressed pages, and device state against the \
            description at the stream's end. For a damaged stream the offset is printed, what was expected there and \
            what was found.

              $ apus stream check guest.mig && virsh …
              $ apus stream check captured/*

            Exit status: 0 if all are whole, 1 if one is not, 2 if one cannot be read.
            """)

    @Argument(help: ArgumentHelp("The streams, '-' for standard input.", valueName: "file"))
    var paths: [String]

    @Flag(name: .shortAndLong, help: "Print nothing; only the exit status tells.")
    var quiet = false

    func run() throws {
        var status: Int32 = 0
        for path in paths {
            do {
                let summary = try scan(path)
                let lines = [summary.failure].compactMap { $0 } + summary.problems
                if !lines.isEmpty { status = max(status, 1) }
                try report(path, lines.isEmpty ? "whole: \(summary.headline)" : nil, lines)
            } catch let failure as Failure {
                status = 2
                say("apus: \(failure)")
            }
        }
        if status != 0 { throw ExitCode(status) }
    }

    private func report(_ path: String, _ verdict: String?, _ problems: [String]) throws {
        if quiet { return }
        if let verdict { try write("\(path): \(verdict)\n") }
        for problem in problems { try write("\(path): not whole: \(problem)\n") }
    }
}
