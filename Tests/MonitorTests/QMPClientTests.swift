import LinuxSystem
import Monitor
import QMP
import QMPClient
import Testing

@Suite("The QMP client", .timeLimit(.minutes(5))) struct QMPClientTests {
    @Test func `executes commands of several tasks at a time`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        let replies = try await withThrowingTaskGroup(of: QMPValue.self) { group in
            for _ in 0..<50 { group.addTask { try await client.execute("query-uuid") } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(replies.count == 50)
        #expect(Set(replies.map(\.text)).count == 1)
        client.close()
    }

    @Test func `loses no reply that comes before the caller waits for it`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        // While one command's reply is read, the thread is awake, and sends the next command as soon as it is there.
        await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask { for _ in 0..<500 { try await client.execute("query-uuid") } }
            }
        }
        #expect(try await client.execute("query-name") == .nothing)
        client.close()
    }

    @Test func `hands events to every reader, and ends them with the connection`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        let (first, second) = (client.events(), client.events())
        try await client.execute("cont")
        try await client.execute("stop")
        client.close()
        var names: [[String]] = []
        for stream in [first, second] { names.append(await stream.reduce(into: []) { $0.append($1.name) }) }
        #expect(names == [["RESUME", "STOP"], ["RESUME", "STOP"]])
        for await event in client.events() { Issue.record("\(event) came on a closed connection") }
    }

    @Test func `fails what waits when the server ends`() async throws {
        let monitor = try TestMonitor()
        monitor.machine.hold("pause")
        let client = try await monitor.client()
        let task = Task { try await client.execute("test-wait") }
        while !monitor.machine.isWaiting { await Task.yield() }
        try await Thread.run { monitor.server.close(within: .zero) }
        await #expect(throws: QMPClient.ConnectionEnded.self) { try await task.value }
        await #expect(throws: QMPClient.ConnectionEnded.self) { try await client.execute("query-name") }
        #expect(monitor.machine.release())
    }

    @Test func `stops waiting when its task is cancelled, and goes on to work`() async throws {
        let monitor = try TestMonitor()
        monitor.machine.hold("pause")
        let client = try await monitor.client()
        let task = Task { try await client.execute("test-wait") }
        while !monitor.machine.isWaiting { await Task.yield() }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(monitor.machine.release())
        #expect(try await client.execute("query-name") == .nothing)
        client.close()
    }

    @Test func `says that nobody listens, or that who listens is no QMP server`() async throws {
        await #expect(throws: SystemError.self) { try await QMPClient.connect(to: "/nonexistent/socket") }
        let pair = try Socket.pair()
        let text = Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8)
        try text.withUnsafeBytes { try pair.second.send(all: $0) }
        await #expect(throws: QMPClient.ConnectionEnded.self) {
            try await QMPClient.connect(over: Socket(adopting: try pair.first.descriptor.duplicate()))
        }
        let silent = try Socket.pair()
        await #expect(throws: QMPClient.ConnectionEnded.self) {
            try await QMPClient.connect(
                over: Socket(adopting: try silent.first.descriptor.duplicate()), within: .milliseconds(50))
        }
    }

    @Test func `sends what is larger than the socket's buffer`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        let large = String(repeating: "x", count: 1 << 20)
        await #expect(throws: QMPError("File descriptor named '\(large)' not found")) {
            try await client.execute("closefd", ["fdname": .string(large)])
        }
        client.close()
    }

    @Test(.enabled(if: RealQEMU.isInstalled, "qemu-system-x86_64 is not installed"))
    func `drives a real QEMU, descriptors and events included`() async throws {
        let qemu = try RealQEMU()
        let client = try await QMPClient.connect(to: qemu.path)
        let events = client.events()
        #expect(client.greeting?.version.major == 7)
        try await client.execute("cont")
        #expect(try await client.execute("query-status")["running"] == true)
        let file = try OwnedDescriptor(opening: "/dev/null", for: .replacing)
        try await client.sendDescriptor(file, named: "mig")
        try await client.execute("migrate", ["uri": "fd:mig"])
        var info = MigrationInfo()
        repeat {
            info = MigrationInfo(reading: try await client.execute("query-migrate"))
        } while info.status?.hasEnded != true
        #expect(info.status == .completed)
        await #expect(throws: QMPError("migrate-pause is currently only supported during postcopy-active state")) {
            try await client.execute("migrate-pause", isOutOfBand: true)
        }
        _ = try? await client.execute("quit")
        let names = await events.reduce(into: []) { $0.append($1.name) }
        #expect(names.starts(with: ["RESUME", "STOP", "SHUTDOWN"]))
    }
}
