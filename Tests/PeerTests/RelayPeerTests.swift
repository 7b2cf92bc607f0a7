import Foundation
import Testing

@testable import PeerSupport

/// Real migrations whose every channel passes through `apus stream relay`, in both directions.
@Suite(
    "Relaying between two QEMUs", .serialized,
    .enabled(if: CountingGuest.obstacle == nil, CountingGuest.needs))
struct RelayPeerTests {
    /// A way to migrate, and what must then be seen to pass.
    struct Way: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var capabilities: [String] = []
        var parameters: [String: JSON] = [:]
        var relayOptions: [String] = []
        /// Added to the guest's command line.
        var guestWords = ""
        /// Pieces of the relay's report.
        var expected: [String] = []
    }

    static let multifdWays: [Way] = [
        Way(
            testDescription: "one channel and a return path", capabilities: ["return-path"],
            expected: ["connection 0 migration:", "connection 0 return-path: 16 bytes, 2 messages"]),
        Way(
            testDescription: "multifd, 2 channels, return path", capabilities: ["multifd", "return-path"],
            parameters: ["multifd-channels": 2],
            expected: ["connection 1 multifd:", "connection 2 multifd:", "return-path: 16 bytes, 2 messages"]),
        Way(
            testDescription: "multifd, 4 channels of zlib", capabilities: ["multifd", "return-path"],
            parameters: ["multifd-channels": 4, "multifd-compression": "zlib"],
            expected: ["connection 4 multifd:", " compressed pages"]),
        Way(
            testDescription: "multifd, 3 channels of zstd", capabilities: ["multifd", "return-path"],
            parameters: ["multifd-channels": 3, "multifd-compression": "zstd"],
            expected: ["connection 3 multifd:", " compressed pages"]),
        Way(
            testDescription: "zlib, compressed anew by the relay", capabilities: ["multifd", "return-path"],
            parameters: ["multifd-channels": 2, "multifd-compression": "zlib"], relayOptions: ["--recompress"],
            expected: [" compressed pages"]),
        Way(
            testDescription: "zstd, compressed anew by the relay", capabilities: ["multifd", "return-path"],
            parameters: ["multifd-channels": 2, "multifd-compression": "zstd"], relayOptions: ["--recompress"],
            expected: [" compressed pages"]),
    ]

    @Test(arguments: multifdWays)
    func `a guest goes on counting behind a relay`(way: Way) throws {
        try Workbench.use { bench in
            let (source, destination) = try startPair(bench, way)
            try source.serial.wait(forLine: "count 20", within: .seconds(120))
            try source.qmp.execute("stop")
            let relay = try bench.startRelay(to: destination, options: way.relayOptions)
            try source.migrate(to: relay.address)
            try source.qmp.waitForMigration(["completed"], within: .seconds(60))
            try destination.qmp.waitForMigration(["completed"], within: .seconds(60))
            let report = try relay.waitForReport()
            for piece in way.expected { #expect(report.contains(piece), "\(report)") }
            #expect(!report.contains("encoded differently"), "\(report)")
            try expectRecordsRoundTrip(bench)
            try expectCountingGoesOn(from: source, to: destination)
        }
    }

    @Test func `a guest that runs meanwhile sends XBZRLE pages, and its stream is whole`() throws {
        try Workbench.use { bench in
            let way = Way(
                testDescription: "xbzrle", capabilities: ["xbzrle", "return-path"],
                parameters: ["max-bandwidth": 16_000_000, "downtime-limit": 1, "xbzrle-cache-size": 67_108_864],
                // QEMU uses its cache from the second pass on. 4 MiB of changed pages make every pass last
                // a quarter of a second, in which the guest changes them again, whatever the machine's speed.
                guestWords: "churn")
            let (source, destination) = try startPair(bench, way)
            try source.serial.wait(forLine: "count 20", within: .seconds(120))
            let relay = try bench.startRelay(to: destination)
            try source.migrate(to: relay.address)
            try expectXBZRLEPages(from: source, within: .seconds(120))
            try source.setParameters(["downtime-limit": 2000, "max-bandwidth": 0])
            try source.qmp.waitForMigration(["completed"], within: .seconds(60))
            let report = try relay.waitForReport()
            #expect(report.contains(" XBZRLE pages"), "\(report)")
            try expectRecordsRoundTrip(bench)
        }
    }

    @Test(arguments: [false, true])
    func `a guest goes on counting while its memory is post-copied through a relay`(preempt: Bool) throws {
        try Workbench.use { bench in
            let way = Way(
                testDescription: "post-copy",
                capabilities: ["postcopy-ram"] + (preempt ? ["postcopy-preempt"] : []),
                // Slow pushing, so that pages must be asked for.
                parameters: ["max-postcopy-bandwidth": 20_000_000, "max-bandwidth": 10_000_000])
            let (source, destination) = try startPair(bench, way)
            try source.serial.wait(forLine: "count 20", within: .seconds(120))
            try source.qmp.execute("stop")
            let relay = try bench.startRelay(to: destination)
            try source.migrate(to: relay.address)
            try source.qmp.waitForMigration(["active"], within: .seconds(60))
            try source.qmp.execute("migrate-start-postcopy")
            try source.qmp.waitForMigration(["postcopy-active"], within: .seconds(60))
            try destination.qmp.waitForMigration(["postcopy-active"], within: .seconds(60))
            try destination.qmp.execute("cont")
            try source.qmp.waitForMigration(["completed"], within: .seconds(120))
            let report = try relay.waitForReport()
            #expect(report.contains(" page requests"), "\(report)")
            #expect(report.contains("connection 1 preempt:") == preempt, "\(report)")
            #expect(!report.contains("encoded differently"), "\(report)")
            try expectRecordsRoundTrip(bench)
            try expectCountingGoesOn(from: source, to: destination)
        }
    }

    @Test func `a post-copy that was cut is recovered through another relay`() throws {
        try Workbench.use { bench in
            let way = Way(
                testDescription: "recovery", capabilities: ["postcopy-ram"],
                parameters: ["max-postcopy-bandwidth": 4_000_000, "max-bandwidth": 4_000_000])
            let (source, destination) = try startPair(bench, way)
            try source.serial.wait(forLine: "count 20", within: .seconds(120))
            try source.qmp.execute("stop")
            let relay = try bench.startRelay(to: destination)
            try source.migrate(to: relay.address)
            try source.qmp.waitForMigration(["active"], within: .seconds(60))
            try source.qmp.execute("migrate-start-postcopy")
            for machine in [source, destination] {
                try machine.qmp.waitForMigration(["postcopy-active"], within: .seconds(60))
            }
            // A QEMU that listens but has not loaded the devices yet cannot be recovered.
            let loaded = try destination.qmp.ask("query-status", within: .seconds(60)) { answer -> Bool? in
                answer["status"] == "inmigrate" ? nil : true
            }
            #expect(loaded == true)
            relay.kill()
            for machine in [source, destination] {
                try machine.qmp.waitForMigration(["postcopy-paused"], within: .seconds(60))
            }
            try source.setParameters(["max-postcopy-bandwidth": 0])
            let recovery = try bench.startRecoveryRelay(to: destination)
            try source.qmp.execute("migrate", ["uri": .string(recovery.address), "resume": true])
            try source.qmp.waitForMigration(["completed"], within: .seconds(120))
            let report = try recovery.waitForReport()
            #expect(report.contains("connection 0 recovery:"), "\(report)")
            #expect(!report.contains("encoded differently"), "\(report)")
            try expectRecordsRoundTrip(bench, in: "recovery-records")
            try expectCountingGoesOn(from: source, to: destination)
        }
    }

    private func startPair(_ bench: Workbench, _ way: Way) throws -> (source: QEMU, destination: QEMU) {
        let guest = try CountingGuest.prepared.get()
        let arguments = guest.arguments(words: way.guestWords)
        let source = try bench.start("source", arguments)
        let destination = try bench.start("destination", arguments + ["-incoming", "defer"])
        for machine in [source, destination] {
            try machine.setCapabilities(way.capabilities)
            if !way.parameters.isEmpty { try machine.setParameters(way.parameters) }
        }
        return (source, destination)
    }

    /// Passes go on until XBZRLE pages have been sent; a migration that ends before says what it had sent.
    private func expectXBZRLEPages(from source: QEMU, within limit: TimeLimit) throws {
        while true {
            let migration = try source.qmp.execute("query-migrate")
            if migration["xbzrle-cache"]?["pages"]?.int ?? 0 > 0 { return }
            let status = migration["status"]?.string
            guard status == "setup" || status == "active", limit.remainingSeconds > 0 else {
                throw PeerError("no XBZRLE page was sent, the migration is \(status ?? "unknown"): \(migration)")
            }
            Thread.sleep(forTimeInterval: 0.05)
        }
    }

    /// Every channel that the relay recorded comes out of `apus stream rewrite` as it went in.
    private func expectRecordsRoundTrip(_ bench: Workbench, in records: String = "records") throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: bench.path(records)).sorted()
        #expect(files.contains("ch0.c2s"))
        for file in files {
            let path = bench.path("\(records)/\(file)")
            let recorded = try Data(contentsOf: URL(fileURLWithPath: path))
            if recorded.isEmpty { continue }
            let process = try bench.run(
                "again-\(file)", ["sh", "-c", "exec '\(apus)' stream rewrite <'\(path)' >'\(path).again'"])
            #expect(
                try process.waitForExit(within: .seconds(60)) == 0, "\(file): \(bench.complaints(of: "again-\(file)"))")
            #expect(try Data(contentsOf: URL(fileURLWithPath: path + ".again")) == recorded, "\(file) differs")
        }
    }
}
