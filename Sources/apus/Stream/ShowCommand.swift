import ArgumentParser
import LinuxSystem
import MigrationStream
import StreamTools

struct ShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Tell what a stream holds: memory, commands, sections, and device state as named fields.",
        discussion: """
            The names of fields are those that QEMU itself sends at the end of a stream, so the state of any device \
            of any QEMU can be shown. Streams without that description, such as those of a post-copy, are read with \
            the descriptions of microvm's devices that are built in.

              $ apus stream show guest.mig
              $ apus stream show --section cpu --section timer guest.mig
              $ ssh host "cat guest.mig" | apus stream show --json - | jq '.blocks'

            Exit status: 0; 1 if the stream is damaged, after what came before the damage has been shown.
            """)

    @Argument(help: ArgumentHelp("The stream, '-' for standard input.", valueName: "file"))
    var path: String

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(help: "Leave out the fields of devices.")
    var brief = false

    @Option(help: ArgumentHelp("Only sections of this name; may be given several times.", valueName: "name"))
    var section: [String] = []

    func run() throws {
        let summary = try scan(path)
        let options = SummaryOptions(showsFields: !brief, sections: section)
        try write(json ? summary.json(options).text + "\n" : summary.text(options))
        if let failure = summary.failure { throw Failure("\(path): \(failure)") }
    }
}

/// Reads the stream at `path` wholly, with a progress bar.
func scan(_ path: String) throws -> ChannelSummary {
    let progress = ProgressBar("reading \(path)")
    defer { progress.finish() }
    do {
        var input = try StreamInput(opening: path, report: progress.update)
        return try ChannelSummary(scanning: &input)
    } catch {
        throw Failure(input: path, error)
    }
}
