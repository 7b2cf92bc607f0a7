internal import CZlib

/// A deflate stream that flushes but never ends.
final class ZlibDeflateStream: @unchecked Sendable {
    // Safe: owned by this value alone and freed in deinit; zlib remembers the address, so it never moves.
    private let state: UnsafeMutablePointer<z_stream>

    init(level: Int) throws(CompressionError) {
        let state = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        state.initialize(to: z_stream())
        let code = deflateInit_(state, Int32(level), ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard code == Z_OK else {
            state.deallocate()
            throw .failed(.zlib, reason: zlibReason(code, nil))
        }
        self.state = state
    }

    deinit {
        deflateEnd(state)
        state.deallocate()
    }

    /// zlib's own bound is for a stream that ends; a flush per packet costs at most 5 bytes and pending bits.
    static func outputBound(byteCount: Int) -> Int { Int(compressBound(uLong(byteCount))) + 64 }

    func compress(
        _ page: RawSpan, flush: Bool, to output: inout MutableRawSpan, at position: inout Int
    ) throws(CompressionError) {
        var at = position
        let code = output.withUnsafeMutableBytes { output in
            page.withUnsafeBytes { page in
                // Safe: zlib only reads next_in; both pointers are used within this call only.
                state.pointee.next_in = UnsafeMutablePointer(
                    mutating: page.baseAddress?.assumingMemoryBound(to: Bytef.self))
                state.pointee.avail_in = uInt(page.count)
                state.pointee.next_out = output.baseAddress.map { ($0 + at).assumingMemoryBound(to: Bytef.self) }
                state.pointee.avail_out = uInt(output.count - at)
                let code = deflate(state, flush ? Z_SYNC_FLUSH : Z_NO_FLUSH)
                at = output.count - Int(state.pointee.avail_out)
                return code
            }
        }
        let (left, space) = (Int(state.pointee.avail_in), Int(state.pointee.avail_out))
        let message = state.pointee.msg
        state.forgetBuffers()
        guard code == Z_OK else { throw .failed(.zlib, reason: zlibReason(code, message)) }
        precondition(left == 0 && space > 0, "the output is smaller than outputBound")
        position = at
    }
}

/// An inflate stream that is fed packet by packet.
final class ZlibInflateStream: @unchecked Sendable {
    // Safe: owned by this value alone and freed in deinit; zlib remembers the address, so it never moves.
    private let state: UnsafeMutablePointer<z_stream>

    init() throws(CompressionError) {
        let state = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        state.initialize(to: z_stream())
        let code = inflateInit_(state, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard code == Z_OK else {
            state.deallocate()
            throw .failed(.zlib, reason: zlibReason(code, nil))
        }
        self.state = state
    }

    deinit {
        inflateEnd(state)
        state.deallocate()
    }

    /// Fills `length` bytes of `page`; returns how many bytes of `data` that took.
    func inflate(
        _ data: RawSpan, from position: Int, into page: inout MutableRawSpan, length: Int
    ) throws(CompressionError) -> Int {
        let step = page.withUnsafeMutableBytes { advance(data, from: position, into: $0) }
        guard step.code == Z_OK || step.code == Z_BUF_ERROR else {
            if step.code == Z_STREAM_END {
                throw .corrupt(.zlib, reason: "the stream ends inside a channel", position: position + step.taken)
            }
            throw .corrupt(.zlib, reason: zlibReason(step.code, state.pointee.msg), position: position + step.taken)
        }
        guard step.made == length else { throw .tooShort(.zlib, expected: length, found: step.made) }
        return step.taken
    }

    /// Takes the rest of `data`, which must make no more bytes.
    func finish(_ data: RawSpan, from position: Int) throws(CompressionError) {
        guard position < data.byteCount else { return }
        let step = withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { advance(data, from: position, into: $0) }
        guard step.code == Z_OK || step.code == Z_BUF_ERROR else {
            throw .corrupt(.zlib, reason: zlibReason(step.code, state.pointee.msg), position: position + step.taken)
        }
        guard step.made == 0, position + step.taken == data.byteCount else {
            throw .tooLong(.zlib, dataLength: data.byteCount, position: position)
        }
    }

    /// Inflates a stream that stands alone: it must end with `data`, when `page` is full.
    func inflateWhole(_ data: RawSpan, into page: inout MutableRawSpan) throws(CompressionError) {
        let length = page.byteCount
        var step = page.withUnsafeMutableBytes { advance(data, from: 0, into: $0) }
        let (taken, made) = (step.taken, step.made)
        if step.code == Z_OK, made == length {
            // The page is full and the checksum not yet read.
            step = withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) {
                advance(data, from: taken, into: $0)
            }
            guard step.made == 0 else { throw .tooLong(.zlib, dataLength: data.byteCount, position: taken) }
            step.taken += taken
        }
        guard step.code == Z_STREAM_END else {
            if step.code == Z_OK || step.code == Z_BUF_ERROR {
                throw .corrupt(.zlib, reason: "the data ends before its checksum", position: data.byteCount)
            }
            throw .corrupt(.zlib, reason: zlibReason(step.code, state.pointee.msg), position: step.taken)
        }
        guard made == length else { throw .tooShort(.zlib, expected: length, found: made) }
        guard step.taken == data.byteCount else {
            throw .tooLong(.zlib, dataLength: data.byteCount, position: step.taken)
        }
        inflateReset(state)
    }

    private func advance(
        _ data: RawSpan, from position: Int, into output: UnsafeMutableRawBufferPointer
    ) -> (code: Int32, taken: Int, made: Int) {
        data.withUnsafeBytes { data in
            // Safe: zlib only reads next_in; both pointers are used within this call only.
            state.pointee.next_in = UnsafeMutablePointer(
                mutating: data.baseAddress.map { ($0 + position).assumingMemoryBound(to: Bytef.self) })
            state.pointee.avail_in = uInt(data.count - position)
            state.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: Bytef.self)
            state.pointee.avail_out = uInt(output.count)
            let code = CZlib.inflate(state, Z_SYNC_FLUSH)
            let taken = data.count - position - Int(state.pointee.avail_in)
            let made = output.count - Int(state.pointee.avail_out)
            state.forgetBuffers()
            return (code, taken, made)
        }
    }
}

extension UnsafeMutablePointer<z_stream> {
    /// Leaves no pointer behind to memory that the caller owns.
    fileprivate func forgetBuffers() {
        pointee.next_in = nil
        pointee.next_out = nil
        pointee.avail_in = 0
        pointee.avail_out = 0
    }
}

private func zlibReason(_ code: Int32, _ message: UnsafePointer<CChar>?) -> String {
    if let message { return String(cString: message) }
    return zError(code).map { String(cString: $0) } ?? "zlib error \(code)"
}
