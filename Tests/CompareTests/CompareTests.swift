import Foundation
import Testing

@testable import PeerSupport

/// `apus compare` with the built-in guest on this host's KVM: real monitors, real moves.
@Suite("The command apus compare") struct CompareTests {
    static let hasKVM = access("/dev/kvm", R_OK | W_OK) == 0
    private let bench: Workbench

    init() throws { bench = try Workbench() }

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `moves a guest over each transport, and page and JSON tell the same`() throws {
        let (page, file) = (bench.path("page.html"), bench.path("result.json"))
        let result = try run(
            "compare", "--modes", "precopy", "--transports", "tcp,unix,fd", "--memory", "64M", "--workload", "64",
            "--bandwidth", "0", "--json", "--quiet", "--report", page, "--report", file)
        #expect(result.status == 0, "\(result.output) \(result.errors)")
        #expect(result.errors == "")
        let json = try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
        #expect(json["succeeded"] as? Bool == true)
        let rows = try #require(json["rows"] as? [[String: Any]])
        #expect(rows.compactMap { $0["transport"] as? String } == ["tcp", "unix", "fd"])
        let html = try String(contentsOfFile: page, encoding: .utf8)
        for (index, row) in rows.enumerated() {
            let figures = try #require(row["figures"] as? [String: Any])
            let total = try #require(figures["total-ms"] as? Double)
            #expect(total > 0)
            #expect((figures["downtime-ms"] as? Double ?? .infinity) <= total)
            #expect((figures["sent-mib"] as? Double ?? 0) > 30)
            #expect((figures["guest-gap-ms"] as? Double ?? 0) > 0)
            #expect((figures["guest-speed-percent"] as? Double) != nil)
            #expect((figures["source-cpu-s"] as? Double ?? 0) > 0)
            // All of the guest's memory was looked at after the move.
            #expect((figures["checked-pages"] as? Double ?? 0) >= 56 * 256)
            #expect(figures["bad"] as? Int == 0)
            #expect(html.contains("data-row=\"\(index)\" data-figure=\"total-ms\">\(Int(total))<"))
        }
        let saved = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: file))) as? NSDictionary
        #expect(saved == json as NSDictionary)
    }

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `a guest that writes faster than the link carries moves by post-copy and hybrid`() throws {
        let result = try run(
            "compare", "--modes", "postcopy,hybrid", "--memory", "64M", "--workload", "writes=400,hot=48",
            "--bandwidth", "32", "--json", "--quiet")
        #expect(result.status == 0, "\(result.output) \(result.errors)")
        let json = try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
        let figures = (json["rows"] as? [[String: Any]] ?? []).compactMap { $0["figures"] as? [String: Any] }
        #expect(figures.count == 2)
        for each in figures {
            #expect((each["faults"] as? Double ?? 0) > 0)
            #expect((each["fault-max-us"] as? Double ?? 0) > 0)
            #expect(each["bad"] as? Int == 0)
        }
        // Each page once; hybrid sends what was dirtied in its passes again.
        #expect((figures.first?["memory-ratio"] as? Double ?? 9) < 1.2)
    }

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `a guest that never lets pre-copy end is told as failed, and the status says so`() throws {
        let result = try run(
            "compare", "--modes", "precopy", "--memory", "64M", "--workload", "writes=400,hot=48", "--bandwidth", "16",
            "--limit", "4")
        #expect(result.status == 1)
        #expect(result.output.contains("FAILED"))
        #expect(result.output.contains("pre-copy: The time limit of 4.0 s is over."))
        #expect(result.errors.contains("builtin: t="))
    }

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `a monitor that does not start is told with its own words`() throws {
        let file = bench.path("no-kernel")
        try Data("no kernel".utf8).write(to: URL(filePath: file))
        let result = try run("compare", "--modes", "precopy", "--kernel", file, "--memory", "64M", "--quiet")
        #expect(result.status == 1)
        #expect(result.output.contains("pre-copy: The source's monitor ended: apus: "), "\(result.output)")
    }

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `a guest that finds a page wrong after its move has failed, and what it said is told`() throws {
        // The guest's own lines, as a destination that loses pages would let it print them.
        let program = bench.path("monitor")
        let script = """
            #!/bin/bash
            case " $* " in *" --incoming "*) exec '\(apus)' "$@" > >(exec sed -u 's/ bad=0 / bad=2 /') ;; esac
            exec '\(apus)' "$@"

            """
        try Data(script.utf8).write(to: URL(filePath: program))
        chmod(program, 0o755)
        let (page, file) = (bench.path("page.html"), bench.path("result.json"))
        let result = try run(
            "compare", "--modes", "precopy", "--transports", "tcp", "--memory", "64M", "--program", program,
            "--report", page, "--report", file)
        #expect(result.status == 1, "\(result.errors)")
        #expect(result.output.contains("FAILED"))
        #expect(result.output.contains("pre-copy: The guest found something wrong: builtin: t="))
        #expect(result.errors.contains("  FAILED: The guest found something wrong: builtin: t="))
        let html = try String(contentsOfFile: page, encoding: .utf8)
        #expect(html.contains("<td class=\"bad\">FAILED</td>"))
        #expect(html.contains("<strong>pre-copy failed.</strong> The guest found something wrong: builtin: t="))
        let json = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: file))) as? [String: Any]
        #expect(json?["succeeded"] as? Bool == false)
        let row = try #require((json?["rows"] as? [[String: Any]])?.first)
        #expect(row["succeeded"] as? Bool == false)
        #expect((row["figures"] as? [String: Any])?["bad"] as? Int == 2)
    }

    @Test(.enabled(if: hasKVM && QEMU.isInstalled, "needs /dev/kvm and qemu-system-x86_64"))
    func `a migration between two QEMUs has a page, with what QEMU tells`() throws {
        let guest = bench.path("guest.elf")
        try #expect(run("guest", guest).status == 0)
        let source = try startQEMU(
            "source", ["-kernel", guest, "-append", "region=16 rate=20 vectors=sse period=100"])
        let destination = try startQEMU("destination", ["-kernel", guest, "-incoming", "defer"])
        try waitForLines(3, of: source)
        let page = bench.path("page.html")
        let result = try run(
            "migrate", "--qmp", "unix:\(bench.path("source.control"))",
            "--destination-qmp", "unix:\(bench.path("destination.control"))",
            "--report", page, "--quiet", "unix:\(bench.path("move"))")
        #expect(result.status == 0, "\(result.errors)")
        try waitForLines(2, of: destination)
        let html = try String(contentsOfFile: page, encoding: .utf8)
        #expect(html.contains("<dt>Source</dt><dd>QEMU "))
        #expect(html.contains("This monitor does not tell the parts."))
        #expect(html.contains("data-figure=\"sent-mib\""))
        #expect(html.contains("<td class=\"good\">good</td>"))
    }

    @Test(arguments: [
        (["--modes", "foo"], "'foo' is no mode: precopy, postcopy, hybrid."),
        (["--modes", "precopy,precopy"], "'precopy' is there twice."),
        (["--transports", "rdma"], "'rdma' is no transport: tcp, unix, fd."),
        (["--workload", "busy"], "'busy' is no workload: idle, light, medium, heavy, MiB/s, or"),
        (["--workload", "writes=1,hot=400"], "hot=400 MiB do not fit into the guest's 250 MiB."),
        (["--memory", "5M"], "5242880 bytes are less than 32M or no multiple of 2M."),
        (["--bandwidth", "100k"], "102400 bytes/s are no whole MiB/s."),
        (["--rounds", "0"], "--rounds 0: 1 to 1000 are possible."),
        (["--taps", "a,b"], "belong to --kernel"),
        (["--kernel", "/dev/null", "--taps", "a"], "--taps a: two are needed, TAP,TAP."),
        (["--kernel", "/dev/null", "--guest-address", "10.0.0.1"], "--guest-address needs --taps."),
        (["--kernel", "/nothing"], "open /nothing: No such file or directory"),
    ]) func `wrong options are refused before anything starts`(arguments: [String], text: String) throws {
        let result = try run(["compare"] + arguments)
        #expect(result.status == 64)
        #expect(result.errors.contains(text), "\(result.errors)")
    }

    @Test func `a report that cannot be written is known before guests move`() throws {
        let result = try run("compare", "--report", "/nothing/page.html")
        #expect(result.status == 1)
        #expect(
            result.errors
                == "apus compare: the report cannot be written: open /nothing/page.html: No such file or directory\n")
    }

    private struct CommandResult {
        var status: Int32
        var output: String
        var errors: String
    }

    /// Runs `apus` to its end.
    private func run(_ arguments: String...) throws -> CommandResult { try run(arguments) }

    private func run(_ arguments: [String]) throws -> CommandResult {
        let (process, output, errors) = try bench.runWithTranscripts("apus", [apus] + arguments)
        let status = try process.waitForExit(within: .seconds(300))
        for transcript in [output, errors] { try transcript.waitForEnd(within: .seconds(10)) }
        return CommandResult(status: status, output: output.text, errors: errors.text)
    }

    /// A QEMU with the built-in guest's machine, whose QMP `NAME.control` is for the command.
    private func startQEMU(_ name: String, _ arguments: [String]) throws -> QEMU {
        let machine = [
            "-M", "microvm,acpi=off", "-accel", "kvm", "-cpu", "host,arch-capabilities=off", "-m", "64", "-no-reboot",
            "-qmp", "unix:\(bench.path("\(name).control")),server=on,wait=off",
        ]
        return try bench.start(name, machine + arguments)
    }

    private func waitForLines(_ count: Int, of machine: QEMU) throws {
        let found = machine.serial.waitForChange(within: .seconds(60)) { bytes in
            bytes.count { $0 == UInt8(ascii: "\n") } >= count ? true : nil
        }
        if found == nil { throw PeerError("\(machine.name) said no \(count) lines: \(machine.complaints)") }
    }
}
