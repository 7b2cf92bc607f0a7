import ArgumentParser
import LinuxSystem
import StreamTools

struct RewriteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rewrite",
        abstract: "Pass a stream from standard input to standard output, decoded wholly and encoded again.",
        discussion: """
            What comes out is the same stream, byte for byte, unless an option changes it. Memory does not grow with \
            the stream, and bytes are not held back longer than one item of the stream needs to be whole.

            Move a guest from one QEMU to another, without its pages of zeros:

              $ qemu-system-x86_64 … -incoming "exec:nc -l 4444"
              (qemu) migrate "exec:apus stream rewrite --zero-pages | nc other-host 4444"

            Exit status: 0, or 1 if the stream is damaged; what came before the damage has then been written.
            """)

    @Flag(name: .long, help: "Turn pages that hold nothing but zeros into zero records of 9 bytes.")
    var zeroPages = false

    @Flag(name: .shortAndLong, help: "Say on standard error what passed through.")
    var verbose = false

    func run() throws {
        let progress = ProgressBar("rewriting")
        let input = StreamInput(
            adopting: OwnedDescriptor(adopting: 0), name: "standard input", report: progress.update)
        let report: RewriteReport
        do {
            report = try StreamRewriter.rewrite(
                input, to: StreamOutput(adopting: OwnedDescriptor(adopting: 1)),
                options: .init(convertsZeroPages: zeroPages))
        } catch {
            progress.finish()
            throw Failure(input: "standard input", error)
        }
        progress.finish()
        if verbose { say(summary(of: report)) }
    }

    private func summary(of report: RewriteReport) -> String {
        "\(report.readByteCount) bytes read, \(report.writtenByteCount) written; \(report.elementCount) items, "
            + "\(report.plainPageCount) plain pages (\(report.convertedPageCount) made zero), "
            + "\(report.zeroPageCount) zero pages, \(report.encodedDeviceCount) device states "
            + "(\(report.copiedDeviceCount) more passed on); \(report.changedElementCount) items encoded differently."
    }
}
