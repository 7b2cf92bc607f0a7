import Channel
import MigrationStream

/// Main, recovery and preempt channels and packages: the first byte's low bits say which.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMainStream(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let input = FuzzInput(start, count) else { return 0 }
    let kinds: [StreamOptions.Kind] = [.migration, .recovery, .preempt, .package]
    let decoder = StreamDecoder(options: StreamOptions(kind: kinds[Int(input.choice & 3)]), limits: limits)
    decode(input.bytes, with: decoder, chunk: input.chunk)
    return 0
}

/// Small, so that a few bytes cannot ask for megabytes and reach every limit.
private let limits: StreamLimits = {
    var limits = StreamLimits()
    limits.maximumPackageByteCount = 1 << 16
    limits.maximumDeviceStateByteCount = 1 << 16
    limits.maximumDescriptionByteCount = 1 << 16
    limits.maximumSectionCount = 64
    limits.maximumBlockCount = 16
    return limits
}()

private func decode(_ bytes: [UInt8], with decoder: StreamDecoder, chunk: Int) {
    var decoder = decoder
    run(bytes, chunk: chunk) { unread, ended in
        do throws(StreamError) {
            switch try decoder.next(in: unread, ended: ended) {
            case .element(let element, let byteCount):
                let written = write(byteCount: StreamEncoder.byteCount(of: element, blocks: decoder.blocks)) {
                    StreamEncoder.write(element, blocks: decoder.blocks, source: unread, into: &$0)
                }
                if case .package(let contents) = element {
                    let nested = unread.extracting(contents).withUnsafeBytes { Array($0) }
                    decode(nested, with: decoder.packageDecoder(offset: decoder.offset), chunk: chunk)
                }
                return .element(byteCount: byteCount, written: written)
            case .needsMore: return .needsMore
            case .finished: return .finished
            }
        } catch {
            return .refused(error)
        }
    }
}
