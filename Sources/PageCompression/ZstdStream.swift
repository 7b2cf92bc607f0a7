internal import CZstd

/// A zstd frame that flushes but never ends.
final class ZstdCompressStream: @unchecked Sendable {
    // Safe: owned by this value alone and freed in deinit.
    private let context: OpaquePointer

    init(level: Int) throws(CompressionError) {
        guard let context = ZSTD_createCCtx() else { throw .failed(.zstd, reason: "no memory for a context") }
        let code = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Int32(level))
        guard ZSTD_isError(code) == 0 else {
            ZSTD_freeCCtx(context)
            throw .failed(.zstd, reason: zstdReason(code))
        }
        self.context = context
    }

    deinit { ZSTD_freeCCtx(context) }

    /// The bound for whole frames, and what a flush and the frame's header can add.
    static func outputBound(byteCount: Int) -> Int { ZSTD_compressBound(byteCount) + 64 }

    func compress(
        _ page: RawSpan, flush: Bool, to output: inout MutableRawSpan, at position: inout Int
    ) throws(CompressionError) {
        let start = position
        let (code, end) = output.withUnsafeMutableBytes { output in
            page.withUnsafeBytes { page in
                var input = ZSTD_inBuffer(src: page.baseAddress, size: page.count, pos: 0)
                var result = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: start)
                var code = 0
                repeat {
                    let before = (input.pos, result.pos)
                    code = ZSTD_compressStream2(context, &result, &input, flush ? ZSTD_e_flush : ZSTD_e_continue)
                    precondition(
                        ZSTD_isError(code) != 0 || code == 0 || (input.pos, result.pos) != before || !flush,
                        "the output is smaller than outputBound")
                } while ZSTD_isError(code) == 0 && (input.pos < input.size || (flush && code != 0))
                return (code, result.pos)
            }
        }
        guard ZSTD_isError(code) == 0 else { throw .failed(.zstd, reason: zstdReason(code)) }
        position = end
    }
}

/// A zstd frame that is read packet by packet.
final class ZstdDecompressStream: @unchecked Sendable {
    // Safe: owned by this value alone and freed in deinit.
    private let context: OpaquePointer

    /// The largest window a peer may ask memory for, as a power of two: level 20 uses 27.
    static let maximumWindowLog: Int32 = 27

    init() throws(CompressionError) {
        guard let context = ZSTD_createDCtx() else { throw .failed(.zstd, reason: "no memory for a context") }
        let code = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.maximumWindowLog)
        guard ZSTD_isError(code) == 0 else {
            ZSTD_freeDCtx(context)
            throw .failed(.zstd, reason: zstdReason(code))
        }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    /// Fills `length` bytes of `page`; returns how many bytes of `data` that took.
    func inflate(
        _ data: RawSpan, from position: Int, into page: inout MutableRawSpan, length: Int
    ) throws(CompressionError) -> Int {
        let step = page.withUnsafeMutableBytes { advance(data, from: position, into: $0) }
        guard ZSTD_isError(step.code) == 0 else {
            throw .corrupt(.zstd, reason: zstdReason(step.code), position: position + step.taken)
        }
        guard step.made == length else { throw .tooShort(.zstd, expected: length, found: step.made) }
        return step.taken
    }

    /// Takes the rest of `data`, which must make no more bytes.
    func finish(_ data: RawSpan, from position: Int) throws(CompressionError) {
        let step = withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { advance(data, from: position, into: $0) }
        guard ZSTD_isError(step.code) == 0 else {
            throw .corrupt(.zstd, reason: zstdReason(step.code), position: position + step.taken)
        }
        guard step.made == 0, position + step.taken == data.byteCount else {
            throw .tooLong(.zstd, dataLength: data.byteCount, position: position)
        }
    }

    private func advance(
        _ data: RawSpan, from position: Int, into output: UnsafeMutableRawBufferPointer
    ) -> (code: Int, taken: Int, made: Int) {
        data.withUnsafeBytes { data in
            var input = ZSTD_inBuffer(src: data.baseAddress, size: data.count, pos: position)
            var result = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
            var code = 0
            var before = (-1, -1)
            // Until the page is full, or the library takes nothing and gives nothing.
            while result.pos < result.size, (input.pos, result.pos) != before {
                before = (input.pos, result.pos)
                code = ZSTD_decompressStream(context, &result, &input)
                if ZSTD_isError(code) != 0 { break }
            }
            return (code, input.pos - position, result.pos)
        }
    }
}

private func zstdReason(_ code: Int) -> String { String(cString: ZSTD_getErrorName(code)) }
