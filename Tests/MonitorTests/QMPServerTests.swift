import Glibc
import LinuxSystem
import Monitor
import QMP
import QMPClient
import Testing

@Suite("The QMP server", .timeLimit(.minutes(5))) struct QMPServerTests {
    @Test func `greets, negotiates and answers`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        #expect(client.greeting?.version.package == "test")
        #expect(client.greeting?.capabilities == ["oob"])
        #expect(try await client.execute("query-status")["status"] == "prelaunch")
        #expect(try await client.execute("query-kvm") == ["enabled": true, "present": true])
        await #expect(throws: QMPError.unknownCommand("nope")) { try await client.execute("nope") }
        client.close()
    }

    @Test func `sends an event before the reply of the command that caused it`() async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        _ = try await client.line()
        // In one piece with the negotiation: not even the first event is missed.
        try await client.send(#"{"execute":"qmp_capabilities"}{"execute":"cont","id":1}{"execute":"stop","id":2}"#)
        #expect(try await client.line()?["return"] == [:])
        let lines = try await client.lines(4)
        let kinds = lines.map { $0?["event"] ?? $0?["id"] ?? .null }
        #expect(kinds == ["RESUME", 1, "STOP", 2])
        let time = try #require(lines[0]?["timestamp"]?["seconds"]?.integerValue)
        #expect(abs(time - WallClock.now.seconds) < 100)
        #expect(monitor.machine.calls == ["resume", "pause"])
    }

    @Test func `sends events to all who have negotiated and to nobody else`() async throws {
        let monitor = try TestMonitor()
        let clients = try (0..<3).map { _ in try monitor.rawClient() }
        for client in clients.prefix(2) { try await client.negotiate() }
        #expect(try await clients[2].line()?["QMP"] != nil)
        #expect(try await clients[0].command(#"{"execute":"cont"}"#)?["event"] == "RESUME")
        #expect(try await clients[1].line()?["event"] == "RESUME")
        #expect(try await clients[2].command(#"{"execute":"qmp_capabilities","id":9}"#) == ["return": [:], "id": 9])
    }

    @Test func `answers in the order of the commands, wrong ones included`() async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        try await client.negotiate()
        let commands = (0..<100).map { number in
            ["{\"execute\":\"query-name\",\"id\":\(number)}", "{\"bad\":1,\"id\":\(number)}"][number % 2]
        }
        try await client.send(commands.joined())
        let ids = try await client.lines(100).map { $0?["id"]?.integerValue }
        #expect(ids == (0..<100).map { Int64($0) })
    }

    @Test func `reads a command that comes byte by byte`() async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        try await client.negotiate()
        for byte in #"{"execute":"query-uuid","id":"\u00e9"}"#.utf8 { try await client.send([byte]) }
        let reply = try await client.line()
        #expect(reply?["id"] == "é")
        #expect(reply?["return"]?["UUID"] == "00000000-0000-0000-0000-000000000000")
    }

    @Test func `keeps the connection after what is too large or no JSON`() async throws {
        var limits = QMPServer.Limits()
        limits.text.textByteCount = 100_000
        let monitor = try TestMonitor(limits: limits)
        let client = try monitor.rawClient()
        try await client.negotiate()
        #expect(try await client.command("{]\n")?["error"]?["desc"] == "JSON parse error, expecting value")
        let large = [UInt8](repeating: UInt8(ascii: "x"), count: 150_000)
        try await client.send(Array("{\"a\":\"".utf8) + large + [0x0A])
        #expect(try await client.line()?["error"]?["desc"] == "JSON token size limit exceeded")
        #expect(try await client.command(#"{"execute":"query-name","id":1}"#)?["id"] == 1)
    }

    @Test func `executes out of band beside a command that waits`() async throws {
        let monitor = try TestMonitor()
        monitor.machine.hold("pause")
        monitor.migration.set(.postcopyActive)
        let client = try monitor.rawClient()
        try await client.negotiate(#"{"enable":["oob"]}"#)
        try await client.send(#"{"execute":"test-wait","id":1}{"execute":"query-name","id":2}"#)
        #expect(try await client.command(#"{"exec-oob":"migrate-pause","id":3}"#) == ["return": [:], "id": 3])
        #expect(
            try await client.command(#"{"exec-oob":"query-name","id":4}"#)?["error"]?["desc"]
                == "The command query-name does not support OOB")
        while !monitor.machine.release() { await Task.yield() }
        #expect(try await client.line()?["id"] == 1)
        #expect(try await client.line()?["id"] == 2)
    }

    @Test func `survives clients that die at any point of a command`() async throws {
        let monitor = try TestMonitor()
        let text = #"{"execute":"cont","arguments":{},"id":1}"#
        for length in 0...text.utf8.count {
            let client = try monitor.rawClient()
            try await client.send(#"{"execute":"qmp_capabilities"}"# + text.prefix(length))
            client.shutDown()
        }
        let client = try monitor.rawClient()
        try await client.negotiate()
        #expect(try await client.command(#"{"execute":"query-name"}"#) == ["return": [:]])
    }

    @Test func `drops what a client asked that died before its turn`() async throws {
        let monitor = try TestMonitor()
        monitor.machine.hold("pause")
        let first = try monitor.rawClient()
        try await first.negotiate()
        try await first.send(#"{"execute":"test-wait","id":1}"#)
        let second = try monitor.rawClient()
        try await second.negotiate()
        try await second.send(#"{"execute":"system_reset"}"#)
        second.shutDown()
        let third = try monitor.rawClient()
        try await third.negotiate()
        try await third.send(#"{"execute":"query-name","id":3}"#)
        while !monitor.machine.release() { await Task.yield() }
        #expect(try await third.line()?["id"] == 3)
        #expect(try await first.line()?["id"] == 1)
        #expect(monitor.machine.calls == ["pause"])
    }

    @Test func `answers a client that has ended sending, then ends too`() async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        try await client.send(#"{"execute":"qmp_capabilities"}{"execute":"query-name","id":5}"#)
        client.endSending()
        _ = try await client.line()
        _ = try await client.line()
        #expect(try await client.line()?["id"] == 5)
        #expect(try await client.line() == nil)
    }

    @Test func `disconnects a client that does not read, and serves the others meanwhile`() async throws {
        var limits = QMPServer.Limits()
        limits.outputByteCount = 300_000
        let monitor = try TestMonitor(limits: limits)
        let deaf = try monitor.rawClient()
        try await deaf.negotiate()
        let other = try monitor.rawClient()
        try await other.negotiate()
        // Each event is some 100 bytes; the socket's own buffer takes a few hundred thousand.
        for number in 0..<5000 {
            monitor.server.send(event: "TEST", data: ["number": QMPValue(number), "padding": "0123456789"])
            #expect(try await other.line()?["data"]?["number"] == QMPValue(number))
        }
        var last: QMPValue?
        while let line = try await deaf.line() { last = line }
        let number = try #require(last?["data"]?["number"]?.integerValue)
        #expect(number < 4999)
    }

    @Test func `reads no more commands from a client than it reads replies`() async throws {
        let monitor = try TestMonitor()
        let greedy = try monitor.rawClient()
        try await greedy.negotiate()
        // 100 replies of 70 kB would be more than may wait.
        let commands = String(repeating: #"{"execute":"test-large"}"#, count: 100)
        async let sending: Void = greedy.send(commands)
        let other = try monitor.rawClient()
        try await other.negotiate()
        #expect(try await other.command(#"{"execute":"query-name","id":1}"#)?["id"] == 1)
        for _ in 0..<100 { #expect(try await greedy.line()?["return"]?.arrayValue?.count == 5000) }
        try await sending
    }

    @Test func `lets those wait who are too many, and serves them when others have gone`() async throws {
        var limits = QMPServer.Limits()
        limits.clientCount = 2
        let monitor = try TestMonitor(limits: limits)
        let clients = try (0..<3).map { _ in try monitor.rawClient() }
        #expect(try await clients[0].line()?["QMP"] != nil)
        #expect(try await clients[1].line()?["QMP"] != nil)
        await #expect(throws: RawClient.TimeIsUp.self) { try await clients[2].line(within: .milliseconds(100)) }
        clients[0].shutDown()
        #expect(try await clients[2].line()?["QMP"] != nil)
    }

    @Test func `takes the place of a socket that nobody serves, and no other place`() async throws {
        let monitor = try TestMonitor()
        let second = try QMPServer(
            greeting: Greeting(version: monitor.services.identity.version), registry: CommandRegistry(monitor.services))
        #expect(throws: SystemError.self) { try second.listen(at: monitor.path) }
        let stale = temporaryPath("stale")
        do { _ = try ListeningSocket(on: .unix(path: stale)) }
        try second.listen(at: stale)
        let client = try await QMPClient.connect(to: stale)
        client.close()
        let file = temporaryPath("file")
        do { _ = try OwnedDescriptor(opening: file, for: .replacing) }
        #expect(throws: SystemError.self) { try second.listen(at: file) }
        Glibc.unlink(file)
        try await Thread.run { second.close() }
        #expect(Glibc.access(stale, F_OK) != 0)
    }

    @Test func `answers quit before it ends`() async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        try await client.negotiate()
        try await client.send(#"{"execute":"quit","id":1}"#)
        let hasQuit = try await Thread.run { monitor.hasQuit.wait(for: .seconds(10)) }
        #expect(hasQuit)
        try await Thread.run { monitor.server.close() }
        #expect(try await client.line()?["data"] == ["guest": false, "reason": "host-qmp-quit"])
        #expect(try await client.line()?["id"] == 1)
        #expect(try await client.line() == nil)
    }
}
