import ArgumentParser
import Glibc
import LinuxSystem
import MigrationClient
import MigrationRecords
import QMP
import Report

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Move a running guest to another host, by the QMP of Apus or of a QEMU.",
        discussion: """
            EXAMPLES
              The destination waits; then, on the source's host:
                apus run --memory 512M --qmp unix:/run/guest.qmp --incoming tcp:0.0.0.0:4444
                apus migrate --qmp unix:/run/guest.qmp tcp:other-host:4444
              Both monitors on this host, the destination started with --incoming defer: it is set up and watched, too.
                apus migrate --qmp unix:/run/a.qmp --destination-qmp unix:/run/b.qmp --channels 4 unix:/run/move
              A guest that writes faster than the link carries:
                apus migrate --qmp unix:/run/guest.qmp --auto-converge --timeout 60 tcp:other-host:4444
                apus migrate --qmp unix:/run/guest.qmp --hybrid tcp:other-host:4444

            Options that are not given leave the monitor's parameters as they are; capabilities not asked for are off. \
            A destination whose monitor is not given must be told the same about channels, compression and post-copy.

            A post-copy needs both monitors until all memory has arrived: if either process is killed meanwhile, the \
            guest is lost. A link that is lost loses nothing: the guest waits, and --resume goes on.

            Ctrl-C gives the migration up and waits until the guest goes on at the source; a second one ends this \
            command at once, and leaves the migration to the monitor.

            Exit status: 0 the guest is at the destination; 1 the migration failed, 3 it was cancelled: the guest is at \
            the source as before; 2 nothing was started; 4 nobody could say which side has the guest; 5 the link of a \
            post-copy is lost: go on with --resume; 64 an option is wrong.
            """)

    @Argument(
        help: ArgumentHelp("Where to: tcp:HOST:PORT, unix:PATH, fd:NAME, exec:COMMAND or file:PATH.", valueName: "URI"))
    var address: String
    @Option(help: ArgumentHelp("The QMP socket of the source's monitor.", valueName: "unix:PATH"))
    var qmp: String
    @Option(
        help: ArgumentHelp(
            "That of the destination's, to set it up and to see the guest arrive.", valueName: "unix:PATH"))
    var destinationQmp: String?
    @Option(help: ArgumentHelp("Where a deferred destination listens, if not at URI.", valueName: "URI"))
    var listen: String?
    @Option(
        name: .customLong("pass"),
        help: ArgumentHelp("This open descriptor of the calling shell is what fd:NAME means.", valueName: "N"))
    var descriptor: Int32?
    @OptionGroup(title: "The migration") var settings: MigrateSettings
    @Flag(help: "Go on with a post-copy whose link was lost.")
    var resume = false
    @Flag(help: "Print progress and report as JSON, a line each.")
    var json = false
    @Flag(name: .shortAndLong, help: "Print nothing but errors.")
    var quiet = false
    @Option(
        help: ArgumentHelp(
            "Write a report: a page with pictures (FILE.html), a picture (FILE.svg), or all that was seen as JSON.",
            valueName: "FILE"), completion: .file(extensions: ["html", "svg", "json"]))
    var report: String?

    func validate() throws {
        _ = try plan()
        _ = try Self.socketPath(qmp, "--qmp")
        _ = try destinationQmp.map { try Self.socketPath($0, "--destination-qmp") }
        if listen != nil && destinationQmp == nil {
            throw ValidationError("--listen needs --destination-qmp: who should be told?")
        }
        if let descriptor, descriptor < 3 {
            throw ValidationError("Descriptor \(descriptor) belongs to this program; pass one from 3 on.")
        }
    }

    private func plan() throws -> MigrationPlan {
        var plan = try settings.plan(to: address)
        plan.listenAddress = listen
        plan.resumes = resume
        return plan
    }

    /// `unix:PATH`, or the path alone.
    private static func socketPath(_ text: String, _ option: String) throws -> String {
        let path = text.hasPrefix("unix:") ? String(text.dropFirst(5)) : text
        guard !path.isEmpty, text.hasPrefix("unix:") || !text.hasPrefix("tcp:") else {
            throw ValidationError("\(option) \(text): only unix:PATH is possible.")
        }
        return path
    }

    func run() async throws {
        let record: MigrationRecord
        do {
            record = try await migrate()
        } catch let error as PreparationError {
            say("apus migrate: \(error)")
            throw ExitCode(2)
        }
        if let report { try ReportFile.write(Comparison(record), or: record.value, to: report) }
        let status = MigrateReport.exitStatus(of: record.outcome)
        if status != 0 { throw ExitCode(status) }
    }

    private func migrate() async throws -> MigrationRecord {
        if let report { try ReportFile.check(report) }
        var passed: PassedDescriptor?
        if let descriptor {
            passed = PassedDescriptor(inherited: descriptor)
            if passed == nil { throw PreparationError("Descriptor \(descriptor) is not open in the calling shell.") }
        }
        let source = try await MonitorLink.connect(to: try Self.socketPath(qmp, "--qmp"), as: .source)
        var destination: MonitorLink?
        if let destinationQmp {
            destination = try await .connect(
                to: try Self.socketPath(destinationQmp, "--destination-qmp"), as: .destination)
        }
        let display = MigrateDisplay(style: quiet ? .none : json ? .json : .text, monitorPath: source.monitor.socket)
        let run = MigrationRun(try plan(), source: source, destination: destination) { display.show($0) }
        display.continues { Task { await run.proceed() } }
        let signals = try TerminationSignals { [display] _ in
            if display.isInterruptedAgain() { Glibc._exit(MigrateReport.exitStatus(of: .unknown)) }
            Task { display.note(await run.cancel(because: "The migration was interrupted here.")) }
        }
        defer { withExtendedLifetime(signals) {} }
        let record = try await run.run(passing: passed)
        display.end(record)
        return record
    }
}
