import Foundation
import Testing

@testable import PeerSupport

/// `apus migrate` with a real QEMU on both sides.
@Suite("apus migrate and QEMU", .serialized, .enabled(if: QEMU.isInstalled, "qemu-system-x86_64 is not installed"))
struct MigrateCommandTests {
    /// A way to migrate, and what must be in the report or the error.
    struct Way: Sendable, CustomTestStringConvertible {
        var testDescription: String { options.joined(separator: " ") }
        let options: [String]
        /// Members of the report that must be more than 0.
        var positive: [String] = []
    }

    static let ways = [
        Way(options: ["tcp:127.0.0.1:0"]),
        Way(options: ["fd:migration", "--no-live"]),
        Way(options: ["unix:WIRE", "--channels", "3", "--compress", "zstd"], positive: ["stop-to-resume-ms"]),
        Way(options: ["unix:WIRE", "--compress", "xbzrle", "--xbzrle-cache", "8M", "--bandwidth", "40"]),
        Way(options: ["exec:cat >WIRE", "--listen", "exec:cat WIRE"]),
        Way(
            options: [
                "unix:WIRE", "--postcopy-after-pass", "1", "--preempt", "--bandwidth", "40", "--postcopy-bandwidth",
                "4",
            ],
            positive: ["stop-to-resume-ms"]),
        Way(
            options: [
                "unix:WIRE", "--hybrid", "--bandwidth", "16", "--postcopy-bandwidth", "8", "--downtime-limit", "1",
            ],
            positive: ["page-requests"]),
        Way(options: ["tcp:127.0.0.1:0", "--bandwidth", "12", "--downtime-limit", "1", "--timeout", "1"]),
    ]

    @Test(arguments: ways)
    func `a guest moves, and the report has QEMU's figures`(way: Way) throws {
        try Workbench.use { bench in
            let (_, destination) = try startPair(bench)
            let wire = bench.path("wire")
            if way.options[0].hasPrefix("exec:") { mkfifo(wire, 0o600) }
            let options = way.options.map { $0.replacingOccurrences(of: "WIRE", with: wire) }
            let result = try startMigration("migrate", bench, options).result()
            #expect(result.status == 0, "\(result.report) \(result.errors)")
            #expect(result.report["source"]?.string?.hasPrefix("QEMU ") == true)
            #expect(result.report["memory-bytes"]?.int ?? 0 >= 64 << 20)
            #expect(result.report["sent-bytes"]?.int ?? 0 > 1 << 20)
            #expect(result.totalTime ?? 0 > 0, "\(result.report)")
            for name in way.positive {
                guard case .number(let value)? = result.report[name] else {
                    Issue.record("\(name) is missing in \(result.report)")
                    continue
                }
                #expect(value > 0, "\(name) in \(result.report)")
            }
            try destination.serial.wait(forText: "bad=0 badregs=0", within: .seconds(60))
        }
    }

    @Test func `what a QEMU does not know is named before anything starts`() throws {
        try Workbench.use { bench in
            _ = try startPair(bench)
            let wishes = [
                (["--throttle", "stun"], "does not know the capability stun, which --throttle stun needs."),
                (["--ending", "classic"], "does not know the parameter ending, which --ending classic needs."),
                (["--local"], "does not know the capability local, which --local needs."),
            ]
            for (options, sentence) in wishes {
                let result = try startMigration("wish", bench, ["tcp:127.0.0.1:0"] + options).result()
                #expect(result.status == 2)
                #expect(result.errors.contains(sentence), "\(result.errors)")
                try FileManager.default.removeItem(atPath: bench.path("wish.stderr"))
            }
        }
    }

    @Test func `an interrupt cancels, and the guest can be moved after that`() throws {
        try Workbench.use { bench in
            _ = try startPair(bench)
            let first = try startMigration("first", bench, ["unix:\(bench.path("wire"))", "--bandwidth", "1"])
            try first.waitForStatus("active")
            first.process.interrupt()
            let cancelled = try first.result()
            #expect(cancelled.status == 3, "\(cancelled.report) \(cancelled.errors)")
            #expect(cancelled.reasons.contains("interrupted here"))
            _ = try start(bench, "again", ["-incoming", "defer"])
            let second = try startMigration(
                "second", bench, to: "again", ["unix:\(bench.path("wire2"))", "--bandwidth", "0"])
            #expect(try second.result().status == 0)
        }
    }

    /// A QEMU that runs the built-in guest, in software, and one that waits for it.
    private func startPair(_ bench: Workbench) throws -> (source: QEMU, destination: QEMU) {
        let writer = try bench.run("image", [apus, "guest", bench.path("guest.elf")])
        #expect(try writer.waitForExit(within: .seconds(30)) == 0)
        let source = try start(bench, "source", [])
        try source.serial.wait(forText: "bad=0", within: .seconds(60))
        return (source, try start(bench, "destination", ["-incoming", "defer"]))
    }

    /// Starts a QEMU with a second QMP socket, for `apus migrate`.
    private func start(_ bench: Workbench, _ name: String, _ arguments: [String]) throws -> QEMU {
        try bench.start(
            name,
            [
                "-M", "microvm,acpi=off", "-accel", "tcg", "-m", "64", "-kernel", bench.path("guest.elf"), "-append",
                "region=16 rate=20 check=20 period=100 seconds=300", "-qmp",
                "unix:\(bench.path(name + ".control")),server=on,wait=off",
            ] + arguments)
    }

    /// Runs `apus migrate` for the QEMUs of these names.
    private func startMigration(
        _ name: String, _ bench: Workbench, to destination: String = "destination", _ options: [String]
    ) throws -> MigrateProcess {
        try MigrateProcess(
            name, in: bench,
            [
                "--qmp", "unix:\(bench.path("source.control"))", "--destination-qmp",
                "unix:\(bench.path(destination + ".control"))",
            ] + options)
    }
}
