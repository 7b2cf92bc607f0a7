import Foundation
import Testing

/// `apus compare` with the built-in guest on this host's KVM: real monitors, real moves.
@Suite("The command apus compare") struct CompareTests {
    static let hasKVM = access("/dev/kvm", R_OK | W_OK) == 0
    private let folder = CompareFolder()

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `moves a guest over each transport, and page and JSON tell the same`() throws {
        let (page, file) = (folder.path("page.html"), folder.path("result.json"))
        let result = try apus(
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
        let result = try apus(
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
        let result = try apus(
            "compare", "--modes", "precopy", "--memory", "64M", "--workload", "writes=400,hot=48", "--bandwidth", "16",
            "--limit", "4")
        #expect(result.status == 1)
        #expect(result.output.contains("FAILED"))
        #expect(result.output.contains("pre-copy: The time limit of 4.0 s is over."))
        #expect(result.errors.contains("builtin: t="))
    }

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `a monitor that does not start is told with its own words`() throws {
        let file = folder.path("no-kernel")
        try Data("no kernel".utf8).write(to: URL(filePath: file))
        let result = try apus("compare", "--modes", "precopy", "--kernel", file, "--memory", "64M", "--quiet")
        #expect(result.status == 1)
        #expect(result.output.contains("pre-copy: The source's monitor ended: apus: "), "\(result.output)")
    }

    @Test(.enabled(if: hasKVM, "needs /dev/kvm"))
    func `an interruption ends it, and leaves neither monitors nor files`() throws {
        let running = try RunningCommand(["compare", "--memory", "64M", "--bandwidth", "4", "--limit", "600"])
        // It moves: both monitors are there.
        #expect(running.waitForErrors(containing: "it moves", seconds: 60))
        let children = running.children
        #expect(children.count == 2)
        running.interrupt()
        #expect(running.waitForEnd(seconds: 30) == 130)
        for child in children { #expect(kill(child, 0) == -1) }
        #expect(!running.openFolders.contains { FileManager.default.fileExists(atPath: $0) })
        #expect(!running.openFolders.isEmpty)
    }

    private static let hasQEMU = FileManager.default.isExecutableFile(atPath: "/usr/bin/qemu-system-x86_64")

    @Test(.enabled(if: hasKVM && hasQEMU, "needs /dev/kvm and qemu-system-x86_64"))
    func `a migration between two QEMUs has a page, with what QEMU tells`() throws {
        let guest = folder.path("guest.elf")
        try #expect(apus("guest", guest).status == 0)
        let source = try QEMUProcess(
            folder, "source", ["-kernel", guest, "-append", "region=16 rate=20 vectors=sse period=100"])
        let destination = try QEMUProcess(folder, "destination", ["-kernel", guest, "-incoming", "defer"])
        #expect(source.waitForLines(3))
        let page = folder.path("page.html")
        let result = try apus(
            "migrate", "--qmp", "unix:\(source.socket)", "--destination-qmp", "unix:\(destination.socket)",
            "--report", page, "--quiet", "unix:\(folder.path("move"))")
        #expect(result.status == 0, "\(result.errors)")
        #expect(destination.waitForLines(2))
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
        let result = try apus(arguments: ["compare"] + arguments)
        #expect(result.status == 64)
        #expect(result.errors.contains(text), "\(result.errors)")
    }

    @Test func `a report that cannot be written is known before guests move`() throws {
        let result = try apus("compare", "--report", "/nothing/page.html")
        #expect(result.status == 1)
        #expect(
            result.errors
                == "apus compare: the report cannot be written: open /nothing/page.html: No such file or directory\n")
    }
}
