/// Whether all bytes of `bytes` are zero.
///
/// For pages: looks at 256 bytes at a time and stops at the first that differ, so that a page that is not zero costs
/// next to nothing. Any length and alignment.
public func isZeroPage(_ bytes: RawSpan) -> Bool {
    // Safe: the pointer is used only here, and all offsets are below the buffer's count.
    unsafe bytes.withUnsafeBytes { buffer in
        var offset = 0
        while offset + 256 <= buffer.count {
            var all: UInt64 = 0
            for word in 0..<32 {
                all |= unsafe buffer.loadUnaligned(fromByteOffset: offset + word * 8, as: UInt64.self)
            }
            if all != 0 { return false }
            offset += 256
        }
        while offset < buffer.count {
            if unsafe buffer[offset] != 0 { return false }
            offset += 1
        }
        return true
    }
}
