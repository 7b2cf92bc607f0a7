internal import CLinux
internal import Glibc
internal import Synchronization

/// The way of lent pages into a socket: they are put into the pipe, and go on from there.
final class LendingPipe: Sendable {
    let ends: Pipe

    init(pageCount: Int) throws(SystemError) {
        ends = try OwnedDescriptor.pipe()
        // With less room the pages take more calls.
        ends.writing.widenPipe(to: pageCount * 4096)
    }
}

/// Sending memory by lending it to a process on this host: by the one thread that sends.
///
///     memory -- vmsplice --> pipe -- splice --> socket -- recv, the only copy --> the peer's memory
///
/// What the peer receives is what the memory holds then, which may be much later than the call. Nothing tells when that
/// is but the peer itself. Memory that is unmapped meanwhile stays until it was received.
extension StreamDescriptor {
    /// Pages that a pipe shall hold: a packet of a multifd channel.
    private static let lentPageCount = 128

    /// Makes the socket ready for it; called before anything is sent so.
    ///
    /// From then on the socket does not wait by itself, which whoever has another descriptor for it sees, too.
    ///
    /// - Returns: Whether it can be done: only over UNIX sockets it saves a copy.
    public func enableLending() -> Bool {
        guard kind == .socket, clinux_is_unix_socket(number) == 1,
            let pipe = try? LendingPipe(pageCount: Self.lentPageCount), clinux_set_nonblocking(number, 1) == 0
        else { return false }
        lending.withLock { $0 = pipe }
        return true
    }

    /// Sends all of `vectors`, whole pages, which is empty afterwards. Where the kernel lends nothing it is copied as by
    /// `send`.
    ///
    /// - Precondition: `enableLending` has returned true.
    public func sendLent(_ vectors: inout MemoryVectors) throws(SystemError) -> (byteCount: Int, duration: Duration) {
        guard let pipe = lending.withLock({ $0 }) else { preconditionFailure("nothing to lend pages through") }
        var pressedByteCount = 0
        var pressedDuration = Duration.zero
        while !vectors.isEmpty {
            let lent = clinux_lend(pipe.ends.writing.number, vectors.pieces, vectors.count)
            // The pipe is empty, so there is room: whatever the reason is, sending is the same for the peer.
            if lent <= 0 {
                let (byteCount, duration) = try send(&vectors)
                return (pressedByteCount + byteCount, pressedDuration + duration)
            }
            let (byteCount, duration) = try handOn(lent, from: pipe)
            pressedByteCount += byteCount
            pressedDuration += duration
            vectors.removeFirst(lent)
        }
        return (pressedByteCount, pressedDuration)
    }

    /// Empties the pipe, which holds `count` bytes; what the socket took after it first refused some, and for how long.
    private func handOn(
        _ count: Int, from pipe: LendingPipe
    ) throws(SystemError) -> (byteCount: Int, duration: Duration) {
        var refused: ContinuousClock.Instant?
        var pressedByteCount = 0
        var rest = count
        while rest > 0 {
            let result = clinux_hand_on(pipe.ends.reading.number, number, rest)
            if result == -Int(EAGAIN) {
                if refused == nil { refused = .now }
                try wait(for: Int16(POLLOUT), call: "send")
                continue
            }
            let taken = try check(result, "send")
            rest -= taken
            if refused != nil { pressedByteCount += taken }
        }
        guard let refused else { return (0, .zero) }
        return (pressedByteCount, .now - refused)
    }
}
