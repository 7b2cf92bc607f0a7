internal import CLinux

extension OwnedDescriptor {
    /// Sends all of `bytes` on a socket. A peer that is gone is an error, not a signal.
    public func send(all bytes: RawSpan) throws(SystemError) {
        var done = 0
        while done < bytes.byteCount {
            let count = bytes.withUnsafeBytes { clinux_send(number, $0.baseAddress! + done, $0.count - done, 0) }
            done += try check(count, "send")
        }
    }
}
