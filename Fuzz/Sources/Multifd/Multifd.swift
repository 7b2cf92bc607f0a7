import Channel
import MigrationStream

/// A multifd channel, from its hello on or, by the first byte's lowest bit, behind it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMultifd(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let input = FuzzInput(start, count) else { return 0 }
    var decoder = MultifdDecoder(expectsHello: input.choice & 1 == 0)
    run(input.bytes, chunk: input.chunk) { unread, ended in
        do throws(StreamError) {
            switch try decoder.next(in: unread, ended: ended) {
            case .element(let element, let byteCount):
                let written = write(byteCount: element.byteCount) { element.write(source: unread, into: &$0) }
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
