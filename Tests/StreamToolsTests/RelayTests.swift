import Foundation
import LinuxSystem
import MigrationStream
import StreamTools
import Testing

@Suite("Relaying a migration", .timeLimit(.minutes(5))) struct RelayTests {
    private let stream = SmallStream(firstPass: [.plain("ram", 1, 1), .plain("rom", 0, 2)]).bytes

    @Test func `passes a stream and its answers, and ends with them`() throws {
        let ground = try RelayGround()
        let (source, destination) = try ground.connect()
        try source.send(stream)
        #expect(try destination.receive(stream.count) == stream)
        let answers = big(2 as UInt16) + big(4 as UInt16) + big(7 as UInt32) + big(1 as UInt16) + big(4 as UInt16)
        try destination.send(answers + big(0 as UInt32))
        #expect(try source.receive(16) == answers + big(0 as UInt32))
        source.end()
        #expect(try destination.receiveToEnd() == [])
        destination.end()
        let report = try ground.finish()
        #expect(report.isComplete && !report.hasFailures, "\(report.text)")
        #expect(report.connections.map(\.kind) == [.migration])
        #expect(report.connections.first?.forward.plainPageCount == 2)
        #expect(report.connections.first?.backward.elementCount == 2)
    }

    @Test func `passes each item as soon as it is whole, with nothing behind it`() throws {
        let ground = try RelayGround()
        let (source, destination) = try ground.connect()
        // Header and configuration; the section's start with its block list; a record that is cut after 100 bytes.
        let list = try #require(stream.firstRange(of: big(0x10 as UInt64) + [0x7E] + big(2 as UInt32))?.upperBound)
        let record = list + 5 + 8 + 4 + 4096
        for (from, to) in [(0, 20), (20, list), (list, record)] {
            try source.send(Array(stream[from..<to]))
            #expect(try destination.receive(to - from) == Array(stream[from..<to]))
        }
        try source.send(Array(stream[record..<(record + 100)]))
        try source.send(Array(stream[(record + 100)...]))
        #expect(try destination.receive(stream.count - record) == Array(stream[record...]))
        source.end()
        destination.end()
        #expect(try !ground.finish().hasFailures)
    }

    @Test func `a channel that is silent holds up no other`() throws {
        let ground = try RelayGround()
        let (source, destination) = try ground.connect()
        let (preempt, preemptEnd) = try ground.connect()
        let (multifd, multifdEnd) = try ground.connect()
        let recording = try MultifdRecording(compression: .zlib)
        try multifd.send(recording.channels[0])
        #expect(try multifdEnd.receive(recording.channels[0].count) == recording.channels[0])
        try source.send(stream)
        #expect(try destination.receive(stream.count) == stream)
        let record = big(UInt64(0x2000 | 8)) + name("ram") + SmallStream.page(3) + big(0x10 as UInt64)
        try preempt.send(record)
        #expect(try preemptEnd.receive(record.count) == record)
        for peer in [source, preempt, multifd, destination, preemptEnd, multifdEnd] { peer.end() }
        let report = try ground.finish()
        #expect(report.connections.map(\.kind) == [.migration, .preempt, .multifd], "\(report.text)")
        #expect(report.isComplete && !report.hasFailures, "\(report.text)")
    }

    @Test func `cuts both sides when a channel is damaged, and says where`() throws {
        let ground = try RelayGround(options: .init(endsWhenCut: true))
        let (source, destination) = try ground.connect()
        try source.send(Array(stream.prefix(20)) + [0x55])
        #expect(try destination.receiveToEnd() == Array(stream.prefix(20)))
        #expect(try source.receiveToEnd() == [])
        let report = try ground.finish()
        #expect(!report.isComplete)
        #expect(report.connections.first?.failures.first?.contains("offset 20") == true, "\(report.text)")
    }

    @Test func `ends at once when it is stopped, and cuts what is open`() throws {
        let ground = try RelayGround()
        let (source, destination) = try ground.connect()
        try source.send(Array(stream.prefix(20)))
        #expect(try destination.receive(20) == Array(stream.prefix(20)))
        ground.relay.stop()
        #expect(try !ground.finish().isComplete)
        #expect(try source.receiveToEnd() == [])
        #expect(try destination.receiveToEnd() == [])
    }

    @Test func `waits for the recovery after a cut, which continues the blocks and sections`() throws {
        let ground = try RelayGround()
        let (source, destination) = try ground.connect()
        let list = try #require(stream.firstRange(of: big(0x10 as UInt64) + [0x7E] + big(2 as UInt32))?.upperBound)
        try source.send(Array(stream.prefix(list)))
        #expect(try destination.receive(list) == Array(stream.prefix(list)))
        source.end()
        destination.end()
        let (again, againEnd) = try ground.connect()
        let recovery: [UInt8] =
            [8] + big(10 as UInt16) + big(4 as UInt16) + name("ram") + [8] + big(9 as UInt16) + big(0 as UInt16)
            + [2] + big(2 as UInt32) + big(UInt64(0x1000 | 2)) + name("ram") + [0] + big(0x10 as UInt64)
            + [0x7E] + big(2 as UInt32) + [0]
        try again.send(recovery)
        #expect(try againEnd.receive(recovery.count) == recovery)
        again.end()
        againEnd.end()
        let report = try ground.finish()
        #expect(report.connections.map(\.kind) == [.migration, .recovery], "\(report.text)")
        #expect(report.isComplete)
        #expect(report.connections.last?.failures == [])
    }

    @Test func `compresses anew what then makes the same pages`() throws {
        let ground = try RelayGround(options: .init(recompresses: true))
        let (source, destination) = try ground.connect()
        let (multifd, multifdEnd) = try ground.connect()
        let recording = try MultifdRecording(compression: .zstd)
        try multifd.send(recording.channels[1])
        multifd.end()
        let received = try multifdEnd.receiveToEnd()
        try source.send(recording.main)
        for peer in [source, destination, multifdEnd] { peer.end() }
        _ = try ground.finish()
        let workspace = try Workspace()
        try FileManager.default.createDirectory(atPath: workspace.path("all"), withIntermediateDirectories: true)
        try workspace.write(recording.main, as: "all/ch0.c2s")
        try workspace.write(recording.channels[0], as: "all/ch1.c2s")
        try workspace.write(received, as: "all/ch2.c2s")
        _ = try BlockExtractor.extract(
            block: "ram", of: StreamSource(workspace.path("all")), to: workspace.path("memory"))
        let memory = try workspace.read("memory")
        for (page, bytes) in MultifdRecording.pages {
            #expect(Array(memory[page * 4096..<(page + 1) * 4096]) == bytes, "page \(page)")
        }
    }
}

/// A relay, and a place where its destination listens.
private final class RelayGround {
    let relay: Relay
    private let workspace: Workspace
    private let listener: ListeningSocket
    private let thread: BlockingThread
    private let report = Received<RelayReport>()

    init(options: Relay.Options = .init()) throws {
        workspace = try Workspace()
        listener = try ListeningSocket(on: .unix(path: workspace.path("destination")))
        let relay = try Relay(
            listeningOn: .unix(path: workspace.path("relay")), connectingTo: listener.address, options: options)
        self.relay = relay
        thread = try BlockingThread(name: "relay") { [report] in report.append([relay.run()]) }
    }

    /// A connection of the source, and the one that the relay makes for it.
    func connect() throws -> (Peer, Peer) {
        let source = Peer(try Socket(connectingTo: relay.address))
        return (source, Peer(try listener.accept()))
    }

    /// Waits until the relay has ended by itself.
    func finish() throws -> RelayReport {
        let reports = try report.wait(for: 1)
        thread.join()
        return reports[0]
    }
}

/// One end of a connection, read by a thread of its own.
private final class Peer: Sendable {
    private let socket: SharedSocket
    private let received = Received<UInt8>()

    private final class SharedSocket: Sendable {
        let socket: Socket
        init(_ socket: consuming Socket) { self.socket = socket }
    }

    init(_ socket: consuming Socket) {
        self.socket = SharedSocket(socket)
        let (shared, received) = (self.socket, received)
        Thread.detachNewThread {
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = buffer.withUnsafeMutableBytes { (try? shared.socket.receive(into: $0)) ?? 0 }
                if count == 0 { break }
                received.append(Array(buffer[..<count]))
            }
            received.end()
        }
    }

    func send(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try socket.socket.send(all: $0) } }
    func end() { socket.socket.endSending() }

    /// The next `count` bytes, and not more.
    func receive(_ count: Int) throws -> [UInt8] { try received.wait(for: count) }
    func receiveToEnd() throws -> [UInt8] { try received.waitForEnd() }
}

/// What a thread gets, and others wait for.
private final class Received<Element: Sendable>: @unchecked Sendable {
    // Safe: both are touched only while the condition is locked.
    private var elements: [Element] = []
    private var hasEnded = false
    private let condition = NSCondition()

    struct TimeOut: Error {}

    func append(_ more: [Element]) {
        condition.lock()
        elements += more
        condition.broadcast()
        condition.unlock()
    }

    func end() {
        condition.lock()
        hasEnded = true
        condition.broadcast()
        condition.unlock()
    }

    func wait(for count: Int) throws -> [Element] {
        condition.lock()
        defer { condition.unlock() }
        let limit = Date(timeIntervalSinceNow: 30)
        while elements.count < count {
            guard !hasEnded, condition.wait(until: limit) else { throw TimeOut() }
        }
        defer { elements.removeFirst(count) }
        return Array(elements.prefix(count))
    }

    func waitForEnd() throws -> [Element] {
        condition.lock()
        defer { condition.unlock() }
        let limit = Date(timeIntervalSinceNow: 30)
        while !hasEnded { guard condition.wait(until: limit) else { throw TimeOut() } }
        return elements
    }
}
