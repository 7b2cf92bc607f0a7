internal import CLinux
internal import Glibc
internal import Synchronization

/// A descriptor that bytes are sent to or received from by blocking threads, whatever it is: a socket, a pipe, a file.
///
/// One thread may send while another receives and a third ends both by `shutDown`. Sending tells when the descriptor
/// pushed back: from the first refusal of a send until all its bytes are taken.
public final class StreamDescriptor: Sendable {
    /// What the descriptor is, which decides the calls used on it.
    public enum Kind: Sendable {
        case socket
        /// A pipe, a terminal or another thing that can be waited for.
        case pipe
        /// A regular file or a block device, which never make anyone wait.
        case file
    }

    public let kind: Kind
    private let descriptor: OwnedDescriptor
    var number: Int32 { descriptor.number }
    /// What was sent without a copy; nil where nothing is.
    let zeroCopy = Mutex<ZeroCopyProgress?>(nil)
    /// Through what pages are lent; nil where none are.
    let lending = Mutex<LendingPipe?>(nil)
    /// Wakes those who wait for a pipe; a socket has its own way.
    private let end: EventDescriptor
    private let isShutDown = Atomic(false)

    /// Takes over an open descriptor.
    ///
    /// A pipe becomes non-blocking, also for others that share it.
    public init(adopting descriptor: consuming OwnedDescriptor) throws(SystemError) {
        var mode: UInt32 = 0
        var size: Int64 = 0
        _ = try check(clinux_status(descriptor.number, &mode, &size), "fstat")
        kind =
            switch mode & S_IFMT {
            case S_IFSOCK: .socket
            case S_IFREG, S_IFBLK: .file
            default: .pipe
            }
        if kind == .pipe { _ = try check(clinux_set_nonblocking(descriptor.number, 1), "fcntl") }
        // With the usual 200 KiB of a UNIX socket both sides go to sleep thousands of times for each GiB. That of TCP grows
        // to megabytes instead, and pages leave the caches between the copy into the kernel and that out of it.
        if kind == .socket { _ = clinux_fit_local_buffer(descriptor.number, 2 << 20, 1 << 20) }
        end = try EventDescriptor()
        self.descriptor = descriptor
    }

    /// Sets where the next byte of a file is written or read.
    public func seek(to offset: Int64) throws(SystemError) {
        _ = try check(clinux_seek(descriptor.number, offset, SEEK_SET), "lseek")
    }

    /// Sends all of `vectors`, which is empty afterwards.
    ///
    /// - Returns: Bytes that were taken after the descriptor first refused some, and for how long; zeros if it never
    ///   refused.
    public func send(_ vectors: inout MemoryVectors) throws(SystemError) -> (byteCount: Int, duration: Duration) {
        var refused: ContinuousClock.Instant?
        var pressedByteCount = 0
        while !vectors.isEmpty {
            let result =
                kind == .socket
                ? clinux_send_vectors(
                    descriptor.number, vectors.pieces, vectors.count, Int32(MSG_DONTWAIT))
                : clinux_writev(descriptor.number, vectors.pieces, Int32(vectors.count))
            if result == -Int(EAGAIN) {
                if refused == nil { refused = .now }
                try takeCompletions()
                try wait(for: Int16(POLLOUT), call: "send")
                continue
            }
            let count = try check(result, kind == .socket ? "send" : "write")
            vectors.removeFirst(count)
            if refused != nil { pressedByteCount += count }
        }
        guard let refused else { return (0, .zero) }
        return (pressedByteCount, .now - refused)
    }

    /// Fills `vectors` as far as one call does; 0 when the peer has ended.
    ///
    /// With `all` a socket is asked for all of it at once, and gives less only at its end.
    public func receive(_ vectors: inout MemoryVectors, all: Bool = false) throws(SystemError) -> Int {
        while true {
            let result =
                kind == .socket && all
                ? clinux_receive_vectors(
                    descriptor.number, vectors.pieces, vectors.count, Int32(MSG_WAITALL))
                : clinux_readv(descriptor.number, vectors.pieces, Int32(vectors.count))
            if result == -Int(EAGAIN) {
                try wait(for: Int16(POLLIN), call: "receive")
                continue
            }
            let count = try check(result, kind == .socket ? "recv" : "read")
            vectors.removeFirst(count)
            return count
        }
    }

    /// Fills `vectors` as far as there is something to receive now; nil if there is nothing, or it is not a socket. 0 when
    /// the peer has ended.
    public func receiveNow(_ vectors: inout MemoryVectors) throws(SystemError) -> Int? {
        guard kind == .socket else { return nil }
        let result = clinux_receive_vectors(number, vectors.pieces, vectors.count, Int32(MSG_DONTWAIT))
        if result == -Int(EAGAIN) { return nil }
        let count = try check(result, "recv")
        vectors.removeFirst(count)
        return count
    }

    /// Receives at most `buffer.count` bytes; 0 when the peer has ended.
    public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        while true {
            let result = clinux_read(descriptor.number, buffer.baseAddress, buffer.count)
            if result != -Int(EAGAIN) { return try check(result, kind == .socket ? "recv" : "read") }
            try wait(for: Int16(POLLIN), call: "receive")
        }
    }

    /// Waits until something can be received, without being woken by what is sent; a file never makes anyone wait.
    public func waitForBytes() throws(SystemError) {
        if kind != .file { try wait(for: Int16(POLLIN), call: "receive") }
    }

    /// Lets at most about `byteCount` bytes wait here to be sent; without effect where nothing waits.
    ///
    /// TCP keeps what is on its way in its buffer as well, so there only what has not been sent at all is limited.
    public func limitUnsentBytes(to byteCount: Int) {
        if kind == .socket { _ = clinux_limit_unsent(descriptor.number, Int32(clamping: byteCount)) }
    }

    /// Lets at most about `byteCount` bytes of a TCP connection wait here to be read, or as many as could before, where
    /// this process may choose that (CAP_NET_ADMIN); elsewhere there cannot be many anyway.
    ///
    /// To be called before much was received: the kernel offers a peer that sends fast more and more room by itself, and
    /// what it has offered cannot be taken back.
    public func limitUnreadBytes(to byteCount: Int) {
        if kind == .socket { _ = clinux_limit_unread(descriptor.number, Int32(clamping: byteCount)) }
    }

    /// Whether a socket's peer is on this host. Of a pipe nobody knows.
    public var isWithinHost: Bool { kind == .socket && clinux_is_within_host(number) == 1 }

    /// The shortest round trip that a TCP connection has seen; nil of anything else.
    public var leastRoundTrip: Duration? {
        guard kind == .socket else { return nil }
        let microseconds = clinux_least_round_trip(descriptor.number)
        return microseconds >= 0 ? .microseconds(microseconds) : nil
    }

    /// Ends sending: the peer of a socket reads the end of the stream. A pipe or file ends when it is closed.
    public func endSending() {
        if kind == .socket { _ = clinux_shutdown(descriptor.number, Int32(SHUT_WR)) }
    }

    /// Ends receiving alone: whoever is blocked in it returns with 0. A pipe or file has no other direction, and ends.
    public func stopReceiving() {
        if kind == .socket { _ = clinux_shutdown(descriptor.number, Int32(SHUT_RD)) } else { shutDown() }
    }

    /// Ends both directions: whoever is blocked here returns, and later calls fail. May be called from any thread.
    public func shutDown() {
        isShutDown.store(true, ordering: .releasing)
        if kind == .socket { _ = clinux_shutdown(descriptor.number, Int32(SHUT_RDWR)) }
        end.notify()
    }

    /// Waits until the descriptor is ready, or was shut down.
    func wait(for events: Int16, call: String) throws(SystemError) {
        var entries = (
            pollfd(fd: descriptor.number, events: events, revents: 0),
            pollfd(fd: end.number, events: Int16(POLLIN), revents: 0)
        )
        let result = withUnsafeMutableBytes(of: &entries) { bytes in
            clinux_poll(bytes.baseAddress!.assumingMemoryBound(to: pollfd.self), 2, -1)
        }
        _ = try check(result, "poll")
        // Paired with the store in `shutDown`, which comes before the notification that woke us.
        if isShutDown.load(ordering: .acquiring) { throw SystemError(call: call, number: ESHUTDOWN) }
    }
}
