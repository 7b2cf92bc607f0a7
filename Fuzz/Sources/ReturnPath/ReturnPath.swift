import Channel
import MigrationStream

/// The return path.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzReturnPath(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let input = FuzzInput(start, count) else { return 0 }
    var limits = StreamLimits()
    limits.maximumBitmapByteCount = 1 << 12
    var decoder = ReturnPathDecoder(limits: limits)
    run(input.bytes, chunk: input.chunk) { unread, ended in
        do throws(StreamError) {
            switch try decoder.next(in: unread, ended: ended) {
            case .message(let message, let byteCount):
                let written = write(byteCount: message.byteCount) { message.write(source: unread, into: &$0) }
                return .element(byteCount: byteCount, written: written)
            case .needsMore: return .needsMore
            case .finished: return .finished
            }
        } catch {
            return .refused(error)
        }
    }
    return 0
}
