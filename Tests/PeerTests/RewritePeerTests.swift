import Testing

@testable import PeerSupport

/// Real guests whose streams pass through `apus stream rewrite`.
@Suite(
    "Rewriting between two QEMUs", .serialized,
    .enabled(if: CountingGuest.obstacle == nil, CountingGuest.needs))
struct RewritePeerTests {
    @Test(arguments: ["", "--zero-pages"])
    func `a guest goes on counting behind exec: and a pipe`(option: String) throws {
        try Workbench.use { bench in
            let guest = try CountingGuest.prepared.get()
            let fifo = bench.path("fifo")
            let makeFifo = try bench.run("mkfifo", ["mkfifo", fifo])
            #expect(try makeFifo.waitForExit(within: .seconds(10)) == 0)
            let source = try bench.start("source", guest.arguments())
            let destination = try bench.start("destination", guest.arguments() + ["-incoming", "defer"])
            for machine in [source, destination] { try machine.setCapabilities([]) }
            try source.serial.wait(forLine: "count 20", within: .seconds(120))
            // A QEMU 7.2 source under software emulation loses what a running guest writes while it pre-copies.
            try source.qmp.execute("stop")
            try destination.qmp.execute("migrate-incoming", ["uri": .string("exec:cat \(fifo)")])
            try source.migrate(
                to: "exec:'\(apus)' stream rewrite -v \(option) 2>\(bench.path("rewrite.stderr")) >\(fifo)")
            try source.qmp.waitForMigration(["completed"], within: .seconds(60))
            try destination.qmp.waitForMigration(["completed"], within: .seconds(60))
            try expectCountingGoesOn(from: source, to: destination)
            let said = bench.complaints(of: "rewrite")
            #expect(said.contains(" plain pages (") && said.contains(" 0 items encoded differently."), "\(said)")
        }
    }
}
