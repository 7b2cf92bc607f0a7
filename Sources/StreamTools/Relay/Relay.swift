public import LinuxSystem
import MigrationStream
import Synchronization

/// Stands between the source and the destination of a migration, and decodes and encodes all that they say.
///
///     source --connection 0: main------> relay --> destination
///            <-----------return path----       <--
///            --connection 1: multifd 0-> relay -->
///            --connection 2: multifd 1-> …         multifd, preempt, and recovery connections alike
///
/// It connects onward in the order in which it is connected to, since QEMU 7.2 tells channels by their order. Each
/// direction of each connection has a thread of its own, which sends on whatever it could decode before it waits.
public final class Relay: Sendable {
    /// What else to do.
    public struct Options: Sendable {
        /// A folder for what is received: `chN.c2s` from the source, `chN.s2c` from the destination.
        public var recordFolder: String?
        /// Compresses the pages of compressed multifd channels anew, instead of sending them on as they came.
        public var recompresses = false
        /// Ends when all connections are closed, also after a migration that failed: no recovery is waited for.
        public var endsWhenCut = false

        public init(recordFolder: String? = nil, recompresses: Bool = false, endsWhenCut: Bool = false) {
            self.recordFolder = recordFolder
            self.recompresses = recompresses
            self.endsWhenCut = endsWhenCut
        }
    }

    private let listener: ListeningSocket
    private let destination: SocketAddress
    private let options: Options
    private let state: RelayState
    private let connections = Mutex<[RelayConnection]>([])
    private let failures = Mutex<[RelayReport.Connection]>([])

    /// Begins to listen.
    public init(
        listeningOn address: SocketAddress, connectingTo destination: SocketAddress, options: Options = Options()
    ) throws(SystemError) {
        listener = try ListeningSocket(on: address)
        self.destination = destination
        self.options = options
        state = RelayState(endsWhenCut: options.endsWhenCut)
    }

    /// Where it listens; a port 0 has become the real one.
    public var address: SocketAddress { listener.address }

    /// Relays until a migration has come to its end and all connections are closed, or `stop` is called.
    ///
    /// A migration that is cut goes on when its peers connect again.
    public func run() -> RelayReport {
        var threads: [BlockingThread] = []
        var number = 0
        while !state.isOver, let source = try? listener.accept() {
            do {
                threads += try begin(source, number: number)
            } catch {
                var report = RelayReport.Connection(number: number)
                report.failures = ["\(error)"]
                failures.withLock { $0.append(report) }
            }
            number += 1
        }
        for thread in threads { thread.join() }
        return report
    }

    /// Cuts all connections; `run` returns. May be called from any thread.
    public func stop() {
        state.end()
        listener.shutDown()
        for connection in connections.withLock({ $0 }) { connection.cut() }
    }

    /// What has passed through so far; channels that are still open count when they close.
    public var report: RelayReport {
        let all = connections.withLock { $0.map(\.currentReport) } + failures.withLock { $0 }
        return RelayReport(connections: all.sorted { $0.number < $1.number }, isComplete: state.isComplete)
    }

    private func begin(_ source: consuming Socket, number: Int) throws -> [BlockingThread] {
        let onward = try Socket(connectingTo: destination)
        let connection = RelayConnection(
            number: number, source: source, destination: onward, options: options, shared: state)
        connections.withLock { $0.append(connection) }
        state.connectionBegan()
        do {
            return try connection.start { [self] in
                if state.connectionEnded() { listener.shutDown() }
            }
        } catch {
            _ = state.connectionEnded()
            throw error
        }
    }
}
