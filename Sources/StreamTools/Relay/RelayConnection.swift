import LinuxSystem
import MigrationStream
import Synchronization

/// One connection of the source and the one made for it to the destination, with a thread for each direction.
///
/// A direction that ends is ended on the other side as well; one that fails cuts both connections, so that either
/// peer sees the failure that it would see without a relay.
final class RelayConnection: Sendable {
    private let source: Socket
    private let destination: Socket
    private let options: Relay.Options
    private let shared: RelayState
    private let report: Mutex<RelayReport.Connection>

    init(
        number: Int, source: consuming Socket, destination: consuming Socket, options: Relay.Options,
        shared: RelayState
    ) {
        self.source = source
        self.destination = destination
        self.options = options
        self.shared = shared
        report = Mutex(RelayReport.Connection(number: number))
    }

    var currentReport: RelayReport.Connection { report.withLock { $0 } }

    /// Starts both directions; `ended` is called when both have ended, on a thread of this connection.
    func start(_ ended: @escaping @Sendable () -> Void) throws(SystemError) -> [BlockingThread] {
        let number = currentReport.number
        let directions = DirectionCount()
        let onward = try BlockingThread(name: "relay-\(number)-to") { [self] in
            run {
                try forward()
            } onEnd: {
                destination.endSending()
            }
            if directions.endsLast() { close(ended) }
        }
        do throws(SystemError) {
            let back = try BlockingThread(name: "relay-\(number)-from") { [self] in
                run {
                    try backward()
                } onEnd: {
                    source.endSending()
                }
                if directions.endsLast() { close(ended) }
            }
            return [onward, back]
        } catch {
            cut()
            onward.join()
            throw error
        }
    }

    /// Ends both connections at once. May be called from any thread.
    func cut() {
        source.shutDown()
        destination.shutDown()
    }

    private func close(_ ended: () -> Void) {
        cut()
        ended()
    }

    private func run(_ body: () throws -> Void, onEnd: () -> Void) {
        do {
            try body()
            onEnd()
        } catch {
            report.withLock { if !isUsualEnd(error, of: $0.kind) { $0.failures.append("\(error)") } }
            cut()
        }
    }

    /// A destination closes its multifd and preempt channels when it has what it needs, whatever is still under way:
    /// QEMU 7.2 leaves the packet behind the last sync unread. The main channel tells whether all went well.
    private func isUsualEnd(_ error: any Error, of kind: ChannelKind?) -> Bool {
        (kind == .multifd || kind == .preempt) && (error as? SystemError)?.isPeerGone == true
    }

    private func input(from socket: borrowing Socket, direction: String) throws -> StreamInput {
        let number = currentReport.number
        var record: OwnedDescriptor?
        if let folder = options.recordFolder {
            record = try OwnedDescriptor(opening: "\(folder)/ch\(number).\(direction)", for: .replacing)
        }
        return StreamInput(
            adopting: try socket.descriptor.duplicate(), name: "connection \(number)", bufferByteCount: 1 << 20,
            record: record)
    }

    private func forward() throws {
        var input = try input(from: source, direction: "c2s")
        // A preempt channel may stay silent for long: this waits on its own thread.
        try input.fill(atLeast: 1)
        if input.unreadByteCount == 0 { return }
        let kind = try input.channelKind()
        report.withLock { $0.kind = kind }
        let output = StreamOutput(socket: try destination.descriptor.duplicate())
        switch kind {
        case .migration, .recovery, .preempt:
            let codec = MainChannelCodec(shared.decoder(for: kind)) { [shared] in shared.publish($0) }
            try pump(ChannelPump(codec, from: input, to: output))
        case .multifd:
            try pump(ChannelPump(MultifdCodec(recompresses: options.recompresses), from: input, to: output))
        case .returnPath:
            throw MisplacedChannel(kind: kind)
        }
        if kind == .migration || kind == .recovery, currentReport.forward.hasEndMark { shared.complete() }
    }

    private func pump<Codec: ChannelCodec & ~Copyable>(_ pump: consuming ChannelPump<Codec>) throws {
        defer {
            let result = pump.report
            report.withLock { $0.forward = result }
        }
        try pump.run()
    }

    private func backward() throws {
        let input = try input(from: destination, direction: "s2c")
        var pump = ChannelPump(
            ReturnPathCodec(), from: input, to: StreamOutput(socket: try source.descriptor.duplicate()))
        defer {
            let result = pump.report
            report.withLock { $0.backward = result }
        }
        try pump.run()
    }
}

/// A source that sends what only a destination sends.
struct MisplacedChannel: Error, CustomStringConvertible {
    let kind: ChannelKind
    var description: String { "The source sends a \(kind.rawValue)." }
}
