internal import CLinux
internal import Glibc
internal import Synchronization

/// What was sent without a copy, as the kernel counts it.
///
///     sent        calls that took bytes; the kernel numbers them from 0
///     completed   of these, the calls whose memory the kernel does not read any more
struct ZeroCopyProgress: Equatable {
    private(set) var sentCount: UInt32 = 0
    private(set) var completedCount: UInt32 = 0
    /// Since the last look: calls that were completed, and those of them that the kernel copied after all.
    private var completedSinceLook = 0
    private var copiedSinceLook = 0

    /// Calls whose memory the kernel may still read.
    var pendingCount: UInt32 { sentCount &- completedCount }

    mutating func addSend() { sentCount &+= 1 }

    /// The kernel has finished calls `first` to `last`.
    mutating func complete(_ first: UInt32, _ last: UInt32, wasCopied: Bool) {
        let count = last &- first &+ 1
        completedCount &+= count
        completedSinceLook += Int(count)
        if wasCopied { copiedSinceLook += Int(count) }
    }

    /// A call that the kernel had no room to remember was made as usual.
    mutating func addCopy() {
        completedSinceLook += 1
        copiedSinceLook += 1
    }

    /// Whether everything since the last look was copied after all, and there was something.
    mutating func look() -> Bool {
        defer { (completedSinceLook, copiedSinceLook) = (0, 0) }
        return completedSinceLook > 0 && copiedSinceLook == completedSinceLook
    }
}

/// Sending memory from where it lies, with MSG_ZEROCOPY: by the one thread that sends.
///
/// What the peer receives is what the memory holds while it is being sent, which may be later than the call. Whoever
/// needs the memory for something else, or needs to know that it was sent, calls `finishZeroCopy` before.
extension StreamDescriptor {
    /// Makes the socket ready for it; called before anything is sent so.
    ///
    /// - Throws: `SystemError` where the kernel cannot do it: sockets other than TCP.
    public func enableZeroCopy() throws(SystemError) {
        let result =
            kind == .socket && clinux_is_unix_socket(number) == 0 ? clinux_enable_zero_copy(number) : -EOPNOTSUPP
        if result < 0 { throw SystemError(call: "setsockopt", subject: "SO_ZEROCOPY", number: -result) }
        zeroCopy.withLock { $0 = $0 ?? ZeroCopyProgress() }
    }

    /// Sends all of `vectors`, which is empty afterwards. Where the kernel has no room to remember more memory
    /// (RLIMIT_MEMLOCK, net.core.optmem_max), it is copied as by `send`.
    public func sendUncopied(_ vectors: inout MemoryVectors) throws(SystemError) -> (byteCount: Int, duration: Duration)
    {
        var refused: ContinuousClock.Instant?
        var pressedByteCount = 0
        while !vectors.isEmpty {
            let result = clinux_send_uncopied(number, vectors.pieces, vectors.count)
            if result == -Int(EAGAIN) {
                if refused == nil { refused = .now }
                try takeCompletions()
                try wait(for: Int16(POLLOUT), call: "send")
                continue
            }
            if result == -Int(ENOBUFS) {
                try takeCompletions()
                if zeroCopy.withLock({ $0?.pendingCount ?? 0 }) > 0 {
                    // Every completion is reported as an error of the socket, whatever one waits for.
                    try wait(for: 0, call: "send")
                    try takeCompletions()
                    continue
                }
                zeroCopy.withLock { $0?.addCopy() }
                let (byteCount, duration) = try send(&vectors)
                return (byteCount + pressedByteCount, duration + (refused.map { .now - $0 } ?? .zero))
            }
            let count = try check(result, "send")
            if count > 0 { zeroCopy.withLock { $0?.addSend() } }
            vectors.removeFirst(count)
            if refused != nil { pressedByteCount += count }
        }
        try takeCompletions()
        guard let refused else { return (0, .zero) }
        return (pressedByteCount, .now - refused)
    }

    /// Waits until the kernel reads no memory any more that was sent by `sendUncopied`.
    ///
    /// - Returns: Whether everything since the last call was copied after all, as over a loopback.
    public func finishZeroCopy() throws(SystemError) -> Bool {
        while true {
            try takeCompletions()
            if zeroCopy.withLock({ $0?.pendingCount ?? 0 }) == 0 { break }
            try wait(for: 0, call: "send")
        }
        return zeroCopy.withLock { $0?.look() ?? false }
    }

    /// Takes what the kernel has said about sends, without waiting. They would wake whoever waits for the socket.
    func takeCompletions() throws(SystemError) {
        guard zeroCopy.withLock({ $0 != nil }) else { return }
        while true {
            var first: UInt32 = 0
            var last: UInt32 = 0
            var wasCopied: Int32 = 0
            let result = clinux_zero_copy_completion(number, &first, &last, &wasCopied)
            if result == 0 { return }
            _ = try check(result, "send")
            zeroCopy.withLock { $0?.complete(first, last, wasCopied: wasCopied != 0) }
        }
    }
}
