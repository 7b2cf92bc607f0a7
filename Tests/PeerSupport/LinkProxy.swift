import Foundation
import LinuxSystem

/// A link between the two sides of a migration that can be held or cut at any byte of either direction.
///
/// Forward is from the source to the destination. Bytes are counted over all connections.
final class LinkProxy: Sendable {
    enum Direction: Sendable { case forward, backward }

    private struct State: Sendable {
        var counts: [Direction: Int] = [:]
        var limits: [Direction: Int] = [:]
        var cutsAtLimit = false
        /// Bytes per second of the forward direction; 0 is as fast as it goes.
        var forwardPace = 0
        var isCut = false
        var sockets: [SharedSocket] = []
    }

    /// Where the source connects to.
    let address: String
    private let target: String
    private let listener: SharedListener
    private let state = Watched(State())

    /// Listens at `path`; each connection is continued to `target`.
    init(at path: String, to target: String) throws {
        address = "unix:\(path)"
        self.target = target
        listener = SharedListener(try ListeningSocket(on: .unix(path: path)))
        Thread.detachNewThread { [self] in
            while let socket = try? listener.accept() { connect(SharedSocket(socket)) }
        }
    }

    deinit { close() }

    /// Ends everything.
    func close() {
        listener.shutDown()
        cut()
    }

    /// What has been passed on.
    func count(_ direction: Direction) -> Int { state.current.counts[direction, default: 0] }

    /// Stops passing on at byte `count`; until another limit is set.
    func hold(_ direction: Direction, at count: Int) { state.change { $0.limits[direction] = count } }

    /// Cuts all connections once `count` bytes were passed on.
    func cut(_ direction: Direction, at count: Int) {
        state.change {
            $0.limits[direction] = count
            $0.cutsAtLimit = true
        }
    }

    /// Passes so many bytes a second forward, at most.
    func slow(to bytesPerSecond: Int) { state.change { $0.forwardPace = bytesPerSecond } }

    /// Passes everything on again, as fast as it goes.
    func release() {
        state.change {
            $0.limits = [:]
            $0.forwardPace = 0
        }
    }

    /// Cuts all connections, and those that are still to come.
    func cut() {
        var sockets: [SharedSocket] = []
        state.change {
            $0.isCut = true
            sockets = $0.sockets
        }
        for socket in sockets { socket.shutDown() }
    }

    /// Waits until `count` bytes were passed on.
    func wait(for direction: Direction, toReach count: Int, within limit: TimeLimit = .seconds(60)) throws {
        let found = state.wait(until: limit) { $0.counts[direction, default: 0] >= count ? true : nil }
        if found == nil { throw PeerError("Of \(count) bytes \(self.count(direction)) came in time.") }
    }

    private func connect(_ near: SharedSocket) {
        guard let far = try? SharedSocket(Socket(connectingTo: .unix(path: target))) else { return near.shutDown() }
        var isCut = false
        state.change {
            $0.sockets += [near, far]
            isCut = $0.isCut
        }
        if isCut { return cut() }
        Thread.detachNewThread { [self] in pump(.forward, from: near, to: far) }
        Thread.detachNewThread { [self] in pump(.backward, from: far, to: near) }
    }

    private func pump(_ direction: Direction, from source: SharedSocket, to target: SharedSocket) {
        while var (bytes, descriptors) = source.receiveWithDescriptors() {
            while !bytes.isEmpty {
                let count = allowance(direction, of: bytes.count)
                guard count > 0, (try? target.send(bytes.prefix(count), passing: descriptors)) != nil else {
                    return cut()
                }
                descriptors = []
                bytes = bytes.dropFirst(count)
                state.change { $0.counts[direction, default: 0] += count }
                let pace = direction == .forward ? state.current.forwardPace : 0
                // Until these bytes have had their time, or there is no pace to keep any more.
                if pace > 0 {
                    _ = state.wait(until: .seconds(Double(count) / Double(pace))) {
                        $0.isCut || $0.forwardPace == 0 ? true : nil
                    }
                }
            }
        }
        source.shutDown()
        target.shutDown()
    }

    /// How many of `count` bytes may be passed on now; waits while there are none, 0 when the link is cut.
    private func allowance(_ direction: Direction, of count: Int) -> Int {
        state.wait(until: .seconds(600)) { state -> Int? in
            if state.isCut { return 0 }
            guard let limit = state.limits[direction] else { return count }
            let left = limit - state.counts[direction, default: 0]
            if left > 0 { return min(left, count) }
            return state.cutsAtLimit ? 0 : nil
        } ?? 0
    }
}
