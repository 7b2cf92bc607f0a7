import ArgumentParser
import StreamTools

struct ExtractCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "extract",
        abstract: "Write the memory of one block to a file, sparse where it is zero.",
        discussion: """
            All passes are applied, as a destination would: the file is the memory that the guest ran on with. A \
            folder in which 'apus stream relay' recorded all channels serves as well as a stream, also one with \
            multifd channels.

              $ apus stream extract guest.mig --block microvm.ram -o guest.ram
              $ apus stream extract captured/ --block pc.ram -o guest.ram

            'apus stream show --brief' names the blocks. Exit status: 0, or 1 on any error.
            """)

    @Argument(help: ArgumentHelp("The stream, '-' for standard input, or a folder of the relay.", valueName: "file"))
    var path: String

    @Option(help: ArgumentHelp("The block.", valueName: "name"))
    var block: String

    @Option(name: .shortAndLong, help: ArgumentHelp("The file to write.", valueName: "file"))
    var output: String

    @Flag(name: .shortAndLong, help: "Say on standard error how much there is.")
    var verbose = false

    func run() throws {
        let progress = ProgressBar("reading \(path)")
        let report: BlockExtractor.Report
        do {
            report = try BlockExtractor.extract(
                block: block, of: StreamSource(path), to: output, report: progress.update)
        } catch {
            progress.finish()
            throw Failure(input: path, error)
        }
        progress.finish()
        if verbose { say("\(block): \(report.byteCount) bytes, of which \(report.dataByteCount) take space.") }
    }
}
