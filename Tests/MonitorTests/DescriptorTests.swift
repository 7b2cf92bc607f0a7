import Glibc
import LinuxSystem
import Monitor
import QMP
import QMPClient
import Testing

/// Whether what is written into `writing` comes out of `reading`.
private func areConnected(_ reading: borrowing OwnedDescriptor, _ writing: borrowing OwnedDescriptor) throws -> Bool {
    let mark = [UInt8]((0..<8).map { _ in UInt8.random(in: 0...255) })
    try writing.write(all: mark.span.bytes)
    var bytes = [UInt8](repeating: 0, count: 8)
    let count = try bytes.withUnsafeMutableBytes { try reading.read(into: $0) }
    return count == 8 && bytes == mark
}

@Suite("Descriptors over QMP", .timeLimit(.minutes(5))) struct DescriptorTests {
    @Test func `are handed over by name and taken once`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        let pipe = try OwnedDescriptor.pipe()
        try await client.sendDescriptor(pipe.writing, named: "mig")
        let taken = try monitor.services.descriptors.take(named: "mig")
        #expect(try areConnected(pipe.reading, taken))
        #expect(throws: QMPError("File descriptor named 'mig' has not been found")) {
            _ = try monitor.services.descriptors.take(named: "mig")
        }
        client.close()
    }

    @Test func `belong to the command they were sent with, though it arrives with others`() async throws {
        let monitor = try TestMonitor()
        monitor.machine.hold("pause")
        let client = try monitor.rawClient()
        try await client.negotiate()
        let pipe = try OwnedDescriptor.pipe()
        // While the first command waits nothing is read, so what follows is there at once.
        try await client.send(#"{"execute":"test-wait","id":0}"#)
        try await client.send(#"{"execute":"getfd","arguments":{"fdname":"a"},"id":1}"#)
        let two =
            #"{"execute":"getfd","arguments":{"fdname":"b"},"id":2}{"execute":"getfd","arguments":{"fdname":"c"},"id":3}"#
        try await client.send(two, passing: [pipe.writing.number])
        while !monitor.machine.release() { await Task.yield() }
        let replies = try await client.lines(4)
        #expect(replies[0]?["id"] == 0)
        #expect(replies[1]?["error"]?["desc"] == "No file descriptor supplied via SCM_RIGHTS")
        #expect(replies[2] == ["return": [:], "id": 2])
        #expect(replies[3]?["error"]?["desc"] == "No file descriptor supplied via SCM_RIGHTS")
        let taken = try monitor.services.descriptors.take(named: "b")
        #expect(try areConnected(pipe.reading, taken))
    }

    @Test(arguments: [0, 1, 20, 51, 52]) func `may come with any byte of the command`(position: Int) async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        try await client.negotiate()
        let pipe = try OwnedDescriptor.pipe()
        let bytes = Array(#"{"execute":"getfd","arguments":{"fdname":"a"},"id":1}"#.utf8)
        #expect(bytes.count == 53)
        if position > 0 { try await client.send(Array(bytes.prefix(position))) }
        try await client.send(Array(bytes.dropFirst(position)), passing: [pipe.writing.number])
        #expect(try await client.line() == ["return": [:], "id": 1])
    }

    @Test func `may come with white space before the command`() async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        try await client.negotiate()
        let pipe = try OwnedDescriptor.pipe()
        try await client.send(" ", passing: [pipe.writing.number])
        #expect(
            try await client.command(#"{"execute":"getfd","arguments":{"fdname":"a"},"id":1}"#)
                == ["return": [:], "id": 1])
    }

    @Test func `are closed when the command takes none, is wrong, or never ends`() async throws {
        let monitor = try TestMonitor()
        let client = try monitor.rawClient()
        try await client.negotiate()
        let texts = [#"{"execute":"query-name"}"#, #"{"execute":"nope"}"#, "{]", #"{"execute":"getfd"}"#]
        for text in texts {
            let pipe = try OwnedDescriptor.pipe()
            try await client.send(text, passing: [pipe.writing.number])
            _ = try await client.line()
            #expect(try await endsWhenOursIsClosed(pipe))
        }
        let pipe = try OwnedDescriptor.pipe()
        try await client.send(#"{"execute":"#, passing: [pipe.writing.number])
        client.shutDown()
        #expect(try await endsWhenOursIsClosed(pipe))
    }

    @Test func `with a name that was used take its place, and closefd closes`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        let first = try OwnedDescriptor.pipe()
        let second = try OwnedDescriptor.pipe()
        try await client.sendDescriptor(first.writing, named: "x")
        try await client.sendDescriptor(second.writing, named: "x")
        #expect(try await endsWhenOursIsClosed(first))
        try await client.execute("closefd", ["fdname": "x"])
        #expect(try await endsWhenOursIsClosed(second))
        await #expect(throws: QMPError("File descriptor named 'x' not found")) {
            try await client.execute("closefd", ["fdname": "x"])
        }
        let third = try OwnedDescriptor.pipe()
        await #expect(throws: QMPError("Parameter 'fdname' expects a name not starting with a digit")) {
            try await client.sendDescriptor(third.writing, named: "5x")
        }
        client.close()
    }

    @Test func `in sets are listed and removed`() async throws {
        let monitor = try TestMonitor()
        let client = try await monitor.client()
        let pipe = try OwnedDescriptor.pipe()
        func passed() throws -> [PassedDescriptor] { [PassedDescriptor(try pipe.writing.duplicate())] }
        let first = try await client.execute("add-fd", ["opaque": "disk"], passing: try passed())
        #expect(first["fdset-id"] == 0)
        let second = try await client.execute("add-fd", ["fdset-id": 0], passing: try passed())
        let other = try await client.execute("add-fd", passing: try passed())
        #expect(other["fdset-id"] == 1)
        let fd = try #require(first["fd"])
        let secondFD = try #require(second["fd"])
        let otherFD = try #require(other["fd"])
        #expect(
            try await client.execute("query-fdsets") == [
                ["fdset-id": 0, "fds": [["fd": fd, "opaque": "disk"], ["fd": secondFD]]],
                ["fdset-id": 1, "fds": [["fd": otherFD]]],
            ])
        try await client.execute("remove-fd", ["fdset-id": 0, "fd": fd])
        try await client.execute("remove-fd", ["fdset-id": 1])
        #expect(
            try await client.execute("query-fdsets") == [["fdset-id": 0, "fds": [["fd": secondFD]]]])
        await #expect(throws: QMPError("File descriptor named 'fdset-id:1' not found")) {
            try await client.execute("remove-fd", ["fdset-id": 1])
        }
        client.close()
    }
}

/// Closes our writing end; the reading end then ends if nobody else has one.
private func endsWhenOursIsClosed(_ pipe: consuming Pipe) async throws -> Bool {
    let ends = PassedPipe(pipe)
    return try await Thread.run {
        _ = ends.writing.take()
        guard let reading = ends.reading.take() else { return false }
        let poller = try Poller()
        try poller.add(reading.number, for: .readable, key: 1)
        return try poller.wait(for: .seconds(10)).first?.events.contains(.hangUp) == true
    }
}

private struct PassedPipe: Sendable {
    let reading: PassedDescriptor
    let writing: PassedDescriptor
    init(_ pipe: consuming Pipe) {
        reading = PassedDescriptor((try? pipe.reading.duplicate()) ?? OwnedDescriptor(adopting: -1))
        writing = PassedDescriptor((try? pipe.writing.duplicate()) ?? OwnedDescriptor(adopting: -1))
    }
}
