import Foundation
import GuestSupport
import LinuxSystem
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// What is no migration, or one between machines that are not the same: each is named, and the guest works on.
@Suite("Migrations that are refused", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct RefusalTests {
    @Test func `a destination that is another machine is refused by name, with both values`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let others: [(MonitorShape, String)] = [
                (MonitorShape(mebibytes: 32), "RAM block microvm.ram is 32 MiB here and 64 MiB in the stream."),
                (MonitorShape(mebibytes: 128), "RAM block microvm.ram is 128 MiB here and 64 MiB in the stream."),
                (MonitorShape(cpuCount: 2), "The machine has 2 virtual CPUs here and 1 in the stream."),
            ]
            for (shape, sentence) in others {
                let destination = try lab.startDestination(shape)
                try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
                try lab.expectFailureAtSource(sentence)
                try lab.expectEnd(of: destination, sentence)
                #expect(destination.complaints == "apus: \(sentence)\n")
                let answer = try lab.source.qmp.execute("query-migrate")
                #expect(answer["error-desc"]?.string == "The destination could not load the guest: \(sentence)")
                #expect(answer["ram"]?["normal"]?.int ?? 0 == 0, "\(answer)")
            }
            try lab.expectGuestMoves("after all others")
        }
    }

    @Test func `a destination with other devices is refused by the device's name before the first page`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let disk = bench.path("disk")
            try Data(count: 1 << 20).write(to: URL(filePath: disk))
            let destination = try lab.startDestination(MonitorShape(options: ["--disk", disk]))
            try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
            try lab.expectFailureAtSource("a disk too many")
            try lab.expectEnd(of: destination, "a disk too many")
            // A device more moves those behind it.
            let sentence =
                "The source has virtio-mmio@00000000feb00e00/virtio-rng, which this machine does not have, and this "
                + "machine has virtio-mmio@00000000feb00e00/virtio-blk and virtio-mmio@00000000feb00c00/virtio-rng, "
                + "which the source does not have."
            #expect(destination.complaints == "apus: \(sentence)\n")
            let answer = try lab.source.qmp.execute("query-migrate")
            #expect(answer["error-desc"]?.string == "The destination could not load the guest: \(sentence)")
            #expect(answer["ram"]?["normal"]?.int == 0 && answer["ram"]?["duplicate"]?.int == 0, "\(answer)")
            try lab.expectGuestMoves("after a disk too many")
        }
    }

    @Test func `the command sees other virtual CPUs and a destination that runs before it starts`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let other = try bench.startDestination("other", MonitorShape(cpuCount: 4))
            let cpus = try bench.migrate("cpus", from: lab.source, to: other, ["tcp:127.0.0.1:0"])
            #expect(cpus.status == 2)
            #expect(cpus.errors == "apus migrate: The source has 1 virtual CPUs and the destination 4.\n")
            let itself = try bench.migrate("itself", from: lab.source, to: lab.source, ["tcp:127.0.0.1:0"])
            #expect(itself.status == 2)
            #expect(itself.errors.hasSuffix("does not wait for a guest: it is running.\n"), "\(itself.errors)")
            try lab.expectWorkGoesOn("after both")
        }
    }

    /// An address, and what `migrate` or `query-migrate` says of it.
    static let addresses = [
        ("tcp:127.0.0.1:1", "tcp:127.0.0.1:1: Connection refused"),
        ("unix:/nowhere/socket", "unix:/nowhere/socket: No such file or directory"),
        ("tcp:nobody.invalid:4444", "tcp:nobody.invalid:4444: "),
        ("tcp:host", "'tcp:host' lacks a port"),
        ("tcp:[::1:4444", "lacks a ] after its address"),
        ("carrier:pigeon", "expects a valid migration protocol"),
        ("fd:nothing", "File descriptor named 'nothing' has not been found"),
        ("exec:exit 3", "exec:exit 3"),
        ("file:/nowhere/file", "file:/nowhere/file: No such file or directory"),
    ]

    @Test func `an address that leads nowhere is named, and the guest can be moved after that`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            for (address, sentence) in Self.addresses {
                let result = try bench.migrate("nowhere", from: lab.source, to: nil, [address, "--bandwidth", "0"])
                let said = result.reasons + result.errors
                print("\(address): \(result.status): \(said)")
                #expect(said.contains(sentence), "\(address): \(said)")
                #expect(result.status == 1 || result.status == 2, "\(address): \(said)")
                try lab.expectWorkGoesOn(address)
                try FileManager.default.removeItem(atPath: bench.path("nowhere.stderr"))
            }
            try lab.expectGuestMoves("after all of them")
        }
    }

    @Test func `strangers at the destination's door do no harm`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench, channelCount: 2)
            let destination = try lab.startDestination()
            let path = bench.path("\(destination.name).wire")
            let silent = try SharedSocket(connectedTo: path)
            let client = try SharedSocket(connectedTo: path)
            try client.send(Data("GET / HTTP/1.1\r\nHost: guest\r\n\r\n".utf8))
            #expect(client.receive() == nil, "the destination answered a stranger")
            // One that knows how a channel begins, and nothing else.
            let impostor = try SharedSocket(connectedTo: path)
            try impostor.send(Data([0x11, 0x22, 0x33, 0x44, 0, 0, 0, 9]) + Data(count: 56))
            let last = try #require(lab.source.reports.last)
            try lab.source.qmp.execute("migrate", ["uri": .string(lab.address(of: destination))])
            let answer = try lab.source.waitForMigration(status: ["completed", "failed"])
            #expect(answer["status"] == "completed", "\(answer) \(destination.complaints)")
            try ArrivedGuest(from: lab.source, to: destination).expectWhole(after: last, "strangers")
            silent.shutDown()
        }
    }

    @Test func `a source that meets something else than a destination says so`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let listener = SharedListener(try ListeningSocket(on: .unix(path: bench.path("web"))))
            Thread.detachNewThread {
                guard let socket = try? SharedSocket(listener.accept()), socket.receive() != nil else { return }
                try? socket.send(Data("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
            }
            try lab.source.qmp.execute("migrate", ["uri": .string("unix:\(bench.path("web"))")])
            try lab.expectFailureAtSource("a web server")
            let reason = try lab.source.qmp.execute("query-migrate")["error-desc"]?.string ?? ""
            #expect(reason.contains("is not valid"), "\(reason)")
            listener.shutDown()
            try lab.expectGuestMoves("after a web server")
        }
    }

    @Test func `a second migration while one runs is refused, and does not disturb it`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let destination = try lab.startDestination()
            let proxy = try lab.startProxy(to: destination)
            proxy.hold(.forward, at: 1 << 20)
            try lab.source.qmp.execute("migrate", ["uri": .string(proxy.address)])
            try proxy.wait(for: .forward, toReach: 1 << 20)
            let second = try bench.migrate("second", from: lab.source, to: nil, ["unix:/nowhere/socket"])
            #expect(second.status == 2)
            #expect(second.errors.contains("There's a migration process in progress."), "\(second.errors)")
            proxy.release()
            let answer = try lab.source.waitForMigration(status: ["completed", "failed"])
            #expect(answer["status"] == "completed", "\(answer)")
        }
    }
}
