import Foundation
import GuestMemory
import LinuxSystem
import Migration
import MigrationTestSupport
import Synchronization
import Testing
import Transports

/// A guest moved by real threads over a real transport.
@Suite("Migration over transports", .serialized, .timeLimit(.minutes(5))) struct TransportMigrationTests {
    private static let folder = FileManager.default.temporaryDirectory.path
    private let path = "\(folder)/apus-\(UInt32.random(in: 0...UInt32.max))"

    private func options(channels: Int = 0, compression: StreamDialect.ChannelCompression = .none) -> MigrationOptions {
        var options = MigrationOptions()
        options.dialect.channelCount = channels
        options.dialect.compression = compression
        return options
    }

    private func listener(_ text: String) throws -> any MigrationListener {
        try Transports.listener(for: try MigrationAddress(parsing: text))
    }

    private func connector(_ text: String) throws -> any MigrationConnector {
        try Transports.connector(for: try MigrationAddress(parsing: text))
    }

    @Test(arguments: [0, 1, 4], ["tcp:127.0.0.1:0", "tcp:[::1]:0", "unix"])
    func `a guest moves over a socket`(channels: Int, text: String) throws {
        let listener = try listener(text == "unix" ? "unix:\(path)" : text)
        let pair = try ThreadedPair()
        let attempt = try pair.migrate(connector(listener.address), listener, options(channels: channels))
        #expect(attempt.isMoved, "\(attempt)")
        #expect(attempt.statistics.multifdByteCount > 0 || channels == 0)
        #expect(text != "unix" || !FileManager.default.fileExists(atPath: path))
    }

    @Test(arguments: ["tcp:127.0.0.1:0", "tcp:127.0.0.2:0", "unix"])
    func `on one host both ends work on processors of their own until the guest has moved`(text: String) throws {
        let listener = try listener(text == "unix" ? "unix:\(path)" : text)
        let placements = Placements()
        let attempt = try ThreadedPair().migrate(connector(listener.address), listener, options(), runtime: placements)
        #expect(attempt.isMoved, "\(attempt)")
        // From another address of the loopback it is not known that the peer is here.
        let isKnown = text != "tcp:127.0.0.2:0"
        #expect(placements.ofThreads == (isKnown ? [[.source, nil], [.destination, nil]] : [[nil], [nil]]))
    }

    @Test(arguments: [StreamDialect.ChannelCompression.zlib(level: 1), .zstd(level: 1)])
    func `a guest moves over compressed channels`(compression: StreamDialect.ChannelCompression) throws {
        let listener = try listener("tcp:127.0.0.1:0")
        let pair = try ThreadedPair()
        let attempt = try pair.migrate(
            connector(listener.address), listener, options(channels: 2, compression: compression))
        #expect(attempt.isMoved, "\(attempt)")
        #expect(attempt.statistics.transferredByteCount < attempt.statistics.normalPageCount * pageSize)
    }

    @Test func `a guest moves over descriptors that were handed over`() throws {
        let sockets = try Socket.pair()
        let near = try sockets.first.descriptor.duplicate().release()
        let far = try sockets.second.descriptor.duplicate().release()
        let address = try MigrationAddress(parsing: "fd:mig")
        let pair = try ThreadedPair()
        let attempt = try pair.migrate(
            Transports.connector(for: address) { $0 == "mig" ? near : try Transports.noDescriptor($0) },
            Transports.listener(for: address) { $0 == "mig" ? far : try Transports.noDescriptor($0) }, options())
        #expect(attempt.isMoved, "\(attempt)")
    }

    @Test func `a guest moves over four channels and a main one that were handed over`() throws {
        let near = Mutex<[String: Int32]>([:])
        let far = Mutex<[String: Int32]>([:])
        for name in ["mig", "mig-1", "mig-2", "mig-3", "mig-4"] {
            let sockets = try Socket.pair()
            let (one, other) = (
                try sockets.first.descriptor.duplicate().release(), try sockets.second.descriptor.duplicate().release()
            )
            near.withLock { $0[name] = one }
            far.withLock { $0[name] = other }
        }
        let (nearNames, farNames) = (near.withLock { $0 }, far.withLock { $0 })
        let address = try MigrationAddress(parsing: "fd:mig")
        let pair = try ThreadedPair()
        let connector = try Transports.connector(for: address) { name in
            try nearNames[name] ?? Transports.noDescriptor(name)
        }
        let listener = try Transports.listener(for: address) { name in
            try farNames[name] ?? Transports.noDescriptor(name)
        }
        let attempt = try pair.migrate(connector, listener, options(channels: 4))
        #expect(attempt.isMoved, "\(attempt)")
        #expect(attempt.statistics.multifdByteCount > 0)
    }

    @Test func `a channel that was not handed over is named`() throws {
        let sockets = try Socket.pair()
        let near = try sockets.first.descriptor.duplicate().release()
        let far = try sockets.second.descriptor.duplicate().release()
        let address = try MigrationAddress(parsing: "fd:mig")
        let pair = try ThreadedPair()
        let connector = try Transports.connector(for: address) { name in
            name == "mig" ? near : try Transports.noDescriptor(name)
        }
        let listener = try Transports.listener(for: address) { name in
            name == "mig" ? far : try Transports.noDescriptor(name)
        }
        let attempt = try pair.migrate(connector, listener, options(channels: 2))
        #expect(
            attempt.sourceError == "Cannot find a descriptor on fd:mig-1: No descriptor has this name.", "\(attempt)")
        #expect(attempt.source == .failed && pair.source.isRunning)
    }

    @Test(arguments: ["tcp:127.0.0.1:0", "tcp:[::1]:0"])
    func `a guest moves without a copy of its pages, and a loopback says that it copied them`(text: String) throws {
        var options = options(channels: 2)
        options.sendsUncopied = true
        let listener = try listener(text)
        let pair = try ThreadedPair(pageCount: 8192)
        let attempt = try pair.migrate(connector(listener.address), listener, options)
        #expect(attempt.isMoved, "\(attempt)")
        #expect(attempt.statistics.missedZeroCopyCount > 0 && attempt.statistics.normalPageCount > 0, "\(attempt)")
    }

    @Test func `a UNIX socket is refused for sending without a copy`() throws {
        var options = options(channels: 1)
        options.sendsUncopied = true
        let listener = try listener("unix:\(path)")
        let pair = try ThreadedPair()
        let attempt = try pair.migrate(connector(listener.address), listener, options)
        #expect(
            attempt.sourceError
                == "Cannot send without a copy on unix:\(path): Operation not supported; only TCP sockets can.",
            "\(attempt)")
        #expect(attempt.source == .failed && pair.source.isRunning)
    }

    @Test func `a guest's memory is handed over a UNIX socket, and over nothing else`() throws {
        var options = options()
        options.dialect.isLocal = true
        let unix = try listener("unix:\(path)")
        let pair = try ThreadedPair(sharesMemory: true)
        let attempt = try pair.migrate(connector(unix.address), unix, options)
        #expect(attempt.isMoved, "\(attempt)")
        #expect(attempt.statistics.normalPageCount + attempt.statistics.zeroPageCount <= 6, "\(attempt.statistics)")
        let tcp = try listener("tcp:127.0.0.1:0")
        let other = try ThreadedPair(sharesMemory: true)
        let refused = try other.migrate(connector(tcp.address), tcp, options)
        #expect(
            refused.sourceError
                == "Memory is handed over a UNIX socket on one host only, and \(tcp.address) is none.", "\(refused)")
        #expect(refused.source == .failed && other.source.isRunning)
    }

    @Test func `a guest moves through a pipe`() throws {
        let pipe = try OwnedDescriptor.pipe()
        let near = try pipe.writing.duplicate().release()
        let far = try pipe.reading.duplicate().release()
        let address = try MigrationAddress(parsing: "fd:mig")
        let pair = try ThreadedPair()
        let connector = try Transports.connector(for: address) { $0 == "mig" ? near : try Transports.noDescriptor($0) }
        let listener = try Transports.listener(for: address) { $0 == "mig" ? far : try Transports.noDescriptor($0) }
        _ = consume pipe
        let attempt = try pair.migrate(connector, listener, options())
        #expect(attempt.isMoved, "\(attempt)")
    }

    @Test func `a guest rests in a file`() throws {
        defer { try? FileManager.default.removeItem(atPath: path) }
        let pair = try ThreadedPair()
        let saved = try pair.send(connector("file:\(path)"), options())
        #expect(saved.source == .completed, "\(saved)")
        let loaded = try pair.receive(listener("file:\(path)"), options())
        #expect(loaded.destinationHasGuest && loaded.isEqual, "\(loaded)")
    }

    @Test func `a guest goes through a command and comes out of another`() throws {
        defer { try? FileManager.default.removeItem(atPath: path) }
        let pair = try ThreadedPair()
        let saved = try pair.send(connector("exec:gzip -1 > \(path)"), options(), hasReturnPath: false)
        #expect(saved.source == .completed, "\(saved)")
        let loaded = try pair.receive(listener("exec:gzip -dc \(path)"), options())
        #expect(loaded.destinationHasGuest && loaded.isEqual, "\(loaded)")
    }

    @Test func `a command that fails gives its status, and the guest goes on`() throws {
        // More than a socket holds, so that the command is missed before all was sent.
        let pair = try ThreadedPair(pageCount: 65536)
        let attempt = try pair.send(connector("exec:exit 3"), options(), hasReturnPath: false)
        #expect(attempt.source == .failed && pair.source.isRunning, "\(attempt)")
        #expect(attempt.sourceError?.contains("ended with status 3") == true, "\(attempt)")
    }

    @Test func `a connection that nobody takes says so`() throws {
        let pair = try ThreadedPair()
        let attempt = try pair.send(connector("unix:\(path)"), options())
        #expect(attempt.sourceError == "Cannot connect on unix:\(path): No such file or directory.")
        #expect(pair.source.isRunning)
    }

    @Test func `strangers are sent away and do no harm`() throws {
        let listener = try listener("tcp:127.0.0.1:0")
        let target = try SocketAddress(parsing: listener.address)
        // One says something else, one ends at once, two say nothing.
        let talker = try Socket(connectingTo: target)
        try Array("GET / HTTP/1.0\r\n\r\n".utf8).withUnsafeBytes { try talker.send(all: $0) }
        let quitter = try Socket(connectingTo: target)
        quitter.shutDown()
        let silent = try Socket(connectingTo: target)
        let dumb = try Socket(connectingTo: target)
        defer { for socket in [silent.descriptor.number, dumb.descriptor.number] { #expect(socket >= 0) } }
        let pair = try ThreadedPair()
        let attempt = try pair.migrate(connector(listener.address), listener, options(channels: 2))
        #expect(attempt.isMoved, "\(attempt)")
    }

    @Test func `a cancel is answered within a second, and a second attempt works`() throws {
        let listener = try listener("tcp:127.0.0.1:0")
        let pair = try ThreadedPair(pageCount: 4096)
        var slow = options()
        slow.maximumBandwidth = 100_000
        let clock = ContinuousClock()
        let (attempt, time) = try pair.cancelled(connector(listener.address), listener, slow, clock)
        #expect(attempt.source == .failed && attempt.sourceError == "The migration was cancelled.", "\(attempt)")
        #expect(time < .seconds(1))
        #expect(pair.source.isRunning)
        try pair.renewDestination()
        let again = try self.listener("tcp:127.0.0.1:0")
        let second = try pair.migrate(connector(again.address), again, options())
        #expect(second.isMoved, "\(second)")
    }

    @Test func `memory of another size is named on the side that knows`() throws {
        let listener = try listener("tcp:127.0.0.1:0")
        let pair = try ThreadedPair(destinationPageCount: 512)
        let attempt = try pair.migrate(connector(listener.address), listener, options())
        #expect(attempt.destinationError == "RAM block block0 is 2 MiB here and 4 MiB in the stream.", "\(attempt)")
        #expect(attempt.source == .failed && pair.source.isRunning, "\(attempt)")
    }
}

/// The system's runtime, and where each end's own thread was kept.
private final class Placements: MigrationRuntime {
    private let system = SystemRuntime()
    private let all = Mutex<[ThreadIdentity: [MigrationEnd?]]>([:])

    /// Of each thread in turn, the source's first.
    var ofThreads: [[MigrationEnd?]] {
        all.withLock { $0.values.sorted { ($0[0]?.rawValue ?? 0) < ($1[0]?.rawValue ?? 0) } }
    }

    func keepApart(as end: MigrationEnd?) {
        all.withLock { $0[.current, default: []].append(end) }
        system.keepApart(as: end)
    }

    func now() -> Duration { system.now() }
    func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) throws -> any MigrationThread {
        try system.startThread(name, body)
    }
    func makeGate() -> any MigrationGate { system.makeGate() }
    func setUrgency(_ urgency: MigrationUrgency) { system.setUrgency(urgency) }
}
