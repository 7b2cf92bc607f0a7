import Glibc
import Synchronization
import Testing

@testable import LinuxSystem

@Suite("Where a thread runs, and how urgently", .timeLimit(.minutes(1))) struct ThreadPlacementTests {
    /// The processors that the calling thread may use, as the kernel tells.
    private static func processors() -> [Int] {
        let lines = FileSystem.text(of: "/proc/thread-self/status")?.split(separator: "\n") ?? []
        let list = lines.first { $0.hasPrefix("Cpus_allowed_list:") }?.split(separator: "\t").last ?? ""
        return list.split(separator: ",").flatMap { part -> [Int] in
            let ends = part.split(separator: "-").compactMap { Int($0) }
            return ends.isEmpty ? [] : Array(ends[0]...ends[ends.count - 1])
        }
    }

    /// What a thread of its own makes of `body`.
    private func onThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) throws -> Value {
        let result = Mutex<Value?>(nil)
        let thread = try BlockingThread(name: "placed") { result.withLock { $0 = body() } }
        thread.join()
        return try #require(result.withLock { $0 })
    }

    @Test(.enabled(if: processors().count > 1, "there is only one processor"))
    func `two parts have no processor in common, and all together`() throws {
        let (all, first, second, after) = try onThread {
            let all = Self.processors()
            let isKept = (0..<2).map { index in
                (ThreadPlacement.keep(toPart: index, of: 2), Self.processors())
            }
            ThreadPlacement.release()
            return (all, isKept[0], isKept[1], Self.processors())
        }
        #expect(first.0 && second.0)
        #expect(first.1 == all.enumerated().filter { $0.offset % 2 == 0 }.map(\.element))
        #expect(second.1 == all.enumerated().filter { $0.offset % 2 == 1 }.map(\.element))
        #expect(after == all)
    }

    @Test func `where there are fewer processors than parts the thread stays where it is`() throws {
        let (before, isKept, after) = try onThread {
            let before = Self.processors()
            return (before, ThreadPlacement.keep(toPart: 0, of: before.count + 1), Self.processors())
        }
        #expect(!isKept && before == after && !before.isEmpty)
    }

    private static let maySet: Bool = {
        let niceness = ThreadUrgency.niceness
        return ThreadUrgency.set(niceness: niceness - 1) && ThreadUrgency.set(niceness: niceness)
    }()

    @Test(.enabled(if: maySet, "niceness may not be lowered here"))
    func `threads that were raised are as they were in the end`() throws {
        let steps = try onThread {
            var (raised, steps) = (RaisedThreads(), [Int32]())
            let own = ThreadIdentity.current
            ThreadUrgency.set(niceness: 3)
            for action in [{ raised.raise(own, by: 5) }, { raised.raise(own, to: 7) }, { raised.raise(own, to: -9) }] {
                action()
                steps.append(ThreadUrgency.niceness)
            }
            raised.release()
            steps.append(ThreadUrgency.niceness)
            ThreadUrgency.set(niceness: -18)
            raised.raise(own, by: 5)
            steps.append(ThreadUrgency.niceness)
            raised.release()
            raised.raise(ThreadIdentity(number: .max), by: 5)
            raised.release()
            return steps + [ThreadUrgency.niceness]
        }
        #expect(steps == [-2, -2, -9, 3, -20, -18])
    }
}

@Suite("Whether a peer is on this host") struct WithinHostTests {
    @Test(arguments: ["127.0.0.1", "::1", "localhost"])
    func `over TCP it is, if it is reached from its own address`(host: String) throws {
        let listener = try ListeningSocket(on: .tcp(host: host, port: 0))
        let near = try StreamDescriptor(adopting: Socket(connectingTo: listener.address).takeDescriptor())
        let far = try StreamDescriptor(adopting: listener.accept().takeDescriptor())
        #expect(near.isWithinHost && far.isWithinHost)
    }

    /// Bytes that may be on their way over a socket, by the kernel's count.
    private func room(_ socket: borrowing OwnedDescriptor) -> Int {
        var (value, length) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
        return getsockopt(socket.number, SOL_SOCKET, SO_SNDBUF, &value, &length) == 0 ? Int(value) : -1
    }

    private static let mayForce: Bool = {
        guard let pair = try? Socket.pair() else { return false }
        var value: Int32 = 4096
        return setsockopt(pair.first.descriptor.number, SOL_SOCKET, SO_SNDBUFFORCE, &value, 4) == 0
    }()

    @Test(.enabled(if: mayForce, "CAP_NET_ADMIN is missing"), arguments: [("127.0.0.1", true), ("127.0.0.2", false)])
    func `over TCP within the host not more is on its way than caches hold`(host: String, isFixed: Bool) throws {
        let listener = try ListeningSocket(on: .tcp(host: host, port: 0))
        let socket = try Socket(connectingTo: listener.address)
        let usual = room(socket.descriptor)
        _ = try StreamDescriptor(adopting: try socket.descriptor.duplicate())
        #expect(room(socket.descriptor) == (isFixed ? 1 << 20 : usual))
    }

    @Test func `at the other end of a UNIX socket it is, of a pipe it is not known`() throws {
        let pair = try Socket.pair()
        #expect(try StreamDescriptor(adopting: try pair.first.descriptor.duplicate()).isWithinHost)
        let pipe = try OwnedDescriptor.pipe()
        #expect(try !StreamDescriptor(adopting: try pipe.writing.duplicate()).isWithinHost)
    }

    @Test func `at another address it is not`() throws {
        // A loopback has more than one address, and none of them is that of the other end.
        let listener = try ListeningSocket(on: .tcp(host: "127.0.0.2", port: 0))
        let near = try StreamDescriptor(adopting: Socket(connectingTo: listener.address).takeDescriptor())
        #expect(!near.isWithinHost)
    }
}
