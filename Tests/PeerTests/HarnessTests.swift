import Testing

@testable import PeerSupport

/// The ground under the other suites: without it their results mean nothing.
@Suite("Peer harness", .serialized, .enabled(if: QEMU.isInstalled, "qemu-system-x86_64 is not installed"))
struct HarnessTests {
    @Test func `a QEMU that cannot start is an error with QEMU's own words`() throws {
        try Workbench.use { bench in
            let error = #expect(throws: PeerError.self) { try bench.start("wrong", ["-M", "no-such-machine"]) }
            #expect(error?.description.contains("unsupported machine type") == true)
        }
    }

    @Test(.enabled(if: CountingGuest.obstacle == nil, CountingGuest.needs))
    func `a guest moves from one QEMU to another and no count is lost`() throws {
        try Workbench.use { bench in
            let guest = try CountingGuest.prepared.get()
            let source = try bench.start("source", guest.arguments())
            let destination = try bench.start("destination", guest.arguments() + ["-incoming", "defer"])
            try source.setCapabilities([])
            try destination.setCapabilities([])
            try source.serial.wait(forLine: "count 20", within: .seconds(120))
            try source.qmp.execute("stop")
            try destination.qmp.execute("migrate-incoming", ["uri": .string("unix:\(bench.path("wire"))")])
            try source.migrate(to: "unix:\(bench.path("wire"))")
            try source.qmp.waitForMigration(["completed"], within: .seconds(60))
            try destination.qmp.waitForMigration(["completed"], within: .seconds(60))
            try expectCountingGoesOn(from: source, to: destination)
        }
    }
}

/// Lets the guest run at the destination, and expects that source and destination together wrote every number once.
func expectCountingGoesOn(
    from source: QEMU, to destination: QEMU, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    try source.quit()
    let before = source.serial.text
    let last = counts(in: before).last ?? 0
    try destination.qmp.execute("cont")
    try destination.serial.wait(forLine: "count \(last + 20)", within: .seconds(60))
    let all = counts(in: before + destination.serial.text)
    #expect(all.count >= last + 20, sourceLocation: sourceLocation)
    #expect(all == Array(1...all.count), "numbers are missing or doubled", sourceLocation: sourceLocation)
}
