import ArgumentParser
import LinuxSystem
import MoveTrials
import QMP
import Report

struct Compare: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Move a running guest in every mode under the same load, and compare.",
        discussion: """
            For each mode a guest is started on this host, works, moves to a second monitor while it works, and is \
            checked. The table says what each cost: time, standstill as the monitor, the guest and a network client saw \
            it, bytes, and work that the guest lost.

            EXAMPLES
              All modes, with a guest that needs no Linux:
                apus compare --report comparison.html
              How modes take a guest that writes faster than the link carries:
                apus compare --workload heavy --auto-converge --limit 30
              Over TCP and a UNIX socket, each three times:
                apus compare --transports tcp,unix --rounds 3
              A Linux guest that Scripts/guest has built, on a bridge with two taps:
                apus compare --kernel vmlinux --initrd guest.cpio --cmdline "$APPEND workload.rate=50 \
            guest.address=10.77.0.50/24" --taps tap0,tap1 --guest-address 10.77.0.50

            Exit status: 0 every move succeeded and the guest is well; 1 one failed, the table says which and why; \
            130 interrupted; 64 an option is wrong.
            """)

    @Option(
        help: ArgumentHelp("Which modes: precopy, postcopy, hybrid.", valueName: "MODE,..."),
        completion: .list(Move.Mode.allCases.map(\.rawValue)), transform: Self.modes)
    var modes = Move.Mode.allCases
    @Option(
        help: ArgumentHelp("Over what: tcp, unix, fd (a connection made by this program).", valueName: "NAME,..."),
        completion: .list(TrialPlan.Transport.allCases.map(\.rawValue)), transform: Self.transports)
    var transports = [TrialPlan.Transport.tcp]
    @Option(
        help: ArgumentHelp(
            """
            What the built-in guest does: idle, light, medium or heavy (0, 10, 50, 200 % of the link in writes), MiB/s, or \
            writes=MiB/s,hot=MiB,reads=MiB/s|max.
            """, valueName: "LOAD"))
    var workload = "medium"
    @Option(help: ArgumentHelp("Guest memory.", valueName: "SIZE"))
    var memory = ByteSizeOption(byteCount: 256 << 20)
    @Option(help: ArgumentHelp("Virtual CPUs.", valueName: "N"))
    var cpus = 1
    @Option(help: ArgumentHelp("The link: MiB/s, or bytes/s with a suffix; 0 is no limit.", valueName: "RATE"))
    var bandwidth = Rate(bytesPerSecond: 256 << 20)
    @Option(help: ArgumentHelp("How long pre-copy may let the guest stand still.", valueName: "MS"))
    var downtimeLimit = 50
    @Option(help: ArgumentHelp("Send memory over N channels beside the main one.", valueName: "N"))
    var channels: Int?
    @Flag(help: "Slow a guest down that writes faster than it is sent.")
    var autoConverge = false
    @Option(help: ArgumentHelp("How often each mode is tried; the table has medians.", valueName: "N"))
    var rounds = 1
    @Option(help: ArgumentHelp("Seconds after which a pre-copy is given up.", valueName: "S"))
    var limit = 60

    @Option(
        help: ArgumentHelp("The apus that runs the guests, to compare versions (this one).", valueName: "FILE"),
        completion: .file())
    var program: String?
    @Option(
        help: ArgumentHelp("A Linux kernel instead of the built-in guest.", valueName: "FILE"), completion: .file())
    var kernel: String?
    @Option(help: ArgumentHelp("Its first root file system.", valueName: "FILE"), completion: .file())
    var initrd: String?
    @Option(help: ArgumentHelp("Its command line.", valueName: "TEXT"))
    var cmdline = "console=ttyS0 reboot=t panic=-1"
    @Option(help: ArgumentHelp("Two taps on one bridge: the source's and the destination's.", valueName: "TAP,TAP"))
    var taps: String?
    @Option(help: ArgumentHelp("The guest's address there, which is pinged all the time.", valueName: "ADDRESS"))
    var guestAddress: String?

    @Flag(help: "Print the result as JSON.")
    var json = false
    @Flag(name: .shortAndLong, help: "Do not say what happens meanwhile.")
    var quiet = false
    @Option(
        help: ArgumentHelp(
            "Write a page with pictures (FILE.html), a picture (FILE.svg), or the result as JSON; may be given again.",
            valueName: "FILE"), completion: .file(extensions: ["html", "svg", "json"]))
    var report: [String] = []

    func validate() throws {
        _ = try plan()
        for path in [program, kernel, initrd].compactMap({ $0 }) {
            do { _ = try OwnedDescriptor(opening: path, for: .reading) } catch { throw ValidationError("\(error)") }
        }
    }

    func run() async throws {
        // Known before guests move for minutes.
        for path in report {
            do { _ = try OwnedDescriptor(opening: path, for: .replacing) } catch {
                say("apus compare: the report cannot be written: \(error)")
                throw ExitCode(1)
            }
        }
        let display = CompareDisplay(isQuiet: quiet)
        let run = ComparisonRun(try plan()) { display.show($0) }
        let signals = try TerminationSignals { _ in
            display.note("interrupted; the guests are being ended")
            run.abandon()
        }
        defer { withExtendedLifetime(signals) {} }
        let comparison = try await run.run()
        if run.wasAbandoned { throw ExitCode(130) }
        for path in report { try ReportFile.write(comparison, or: comparison.json, to: path) }
        if json {
            try write(comparison.json.text + "\n")
        } else {
            try write(CompareDisplay.text(of: comparison))
        }
        if !comparison.hasSucceeded { throw ExitCode(1) }
    }

    private func plan() throws -> TrialPlan {
        let mebibytes = bandwidth.bytesPerSecond >> 20
        if bandwidth.bytesPerSecond % (1 << 20) != 0 {
            throw ValidationError("--bandwidth: \(bandwidth.bytesPerSecond) bytes/s are no whole MiB/s.")
        }
        var plan: TrialPlan
        do { plan = TrialPlan(workload: try Workload(workload, bandwidth: mebibytes)) } catch {
            throw ValidationError("--workload: \(error)")
        }
        plan.memoryMebibytes = memory.byteCount >> 20
        guard memory.byteCount % (2 << 20) == 0, plan.memoryMebibytes >= 32 else {
            throw ValidationError("--memory: \(memory.byteCount) bytes are less than 32M or no multiple of 2M.")
        }
        try check(cpus, 1...64, "--cpus")
        try check(rounds, 1...1000, "--rounds")
        try check(limit, 1...86_400, "--limit")
        try check(downtimeLimit, 0...2_000_000, "--downtime-limit")
        try check(channels, 1...255, "--channels")
        (plan.cpuCount, plan.roundCount, plan.limit) = (cpus, rounds, .seconds(limit))
        (plan.bandwidth, plan.downtimeLimit, plan.channelCount) = (mebibytes, downtimeLimit, channels)
        (plan.modes, plan.transports, plan.hasAutoConverge) = (modes, transports, autoConverge)
        plan.program = program
        if let kernel {
            plan.guest = .linux(kernel: kernel, initrd: initrd, commandLine: cmdline)
        } else if initrd != nil || taps != nil || guestAddress != nil {
            throw ValidationError(
                "--initrd, --taps and --guest-address belong to --kernel: the built-in guest has no use for them.")
        }
        plan.taps = (taps ?? "").split(separator: ",").map(String.init)
        if taps != nil && plan.taps.count != 2 {
            throw ValidationError("--taps \(taps ?? ""): two are needed, TAP,TAP.")
        }
        if guestAddress != nil && taps == nil { throw ValidationError("--guest-address needs --taps.") }
        plan.guestAddress = guestAddress
        if let hot = plan.workload.hotMebibytes, hot > plan.regionMebibytes, plan.guest == .builtIn {
            throw ValidationError("--workload: hot=\(hot) MiB do not fit into the guest's \(plan.regionMebibytes) MiB.")
        }
        return plan
    }

    private static func modes(_ text: String) throws -> [Move.Mode] {
        try list(text, "mode") { Move.Mode(rawValue: $0) }
    }

    private static func transports(_ text: String) throws -> [TrialPlan.Transport] {
        try list(text, "transport") { TrialPlan.Transport(rawValue: $0) }
    }

    private static func list<Value: Hashable & CaseIterable & RawRepresentable>(
        _ text: String, _ what: String, _ parse: (String) -> Value?
    ) throws -> [Value] where Value.RawValue == String {
        var values: [Value] = []
        for word in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let value = parse(String(word)) else {
                let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
                throw ValidationError("'\(word)' is no \(what): \(known).")
            }
            if values.contains(value) { throw ValidationError("'\(word)' is there twice.") }
            values.append(value)
        }
        return values
    }
}
