import Glibc
import MigrationStream

/// What decoding a whole stream gave.
struct Decoded {
    var elements: [StreamElement] = []
    /// The absolute offset of each element.
    var offsets: [Int] = []
    var decoder: StreamDecoder
    /// Bytes that the elements, written again, differ from the stream in.
    var differingElements: [Int] = []
}

/// Decodes `stream`, of which `chunk` more bytes become available whenever the decoder asks, and writes each element
/// again to hold it against what was read.
func decode(
    _ stream: [UInt8], options: StreamOptions = StreamOptions(), chunk: Int = .max,
    decoder given: StreamDecoder? = nil
) throws -> Decoded {
    var result = Decoded(decoder: given ?? StreamDecoder(options: options))
    var position = 0
    var available = min(chunk, stream.count)
    while true {
        let unread = stream.span.bytes.extracting(position..<available)
        switch try result.decoder.next(in: unread, ended: available == stream.count) {
        case .element(let element, let byteCount):
            let written = encode(element, blocks: result.decoder.blocks, source: unread)
            if !unread.extracting(0..<byteCount).equals(written) { result.differingElements.append(position) }
            result.elements.append(element)
            result.offsets.append(position)
            position += byteCount
        case .needsMore(let byteCount):
            precondition(byteCount > 0 && available < stream.count, "asked for \(byteCount) at the end")
            available = min(stream.count, available.addingReportingOverflow(chunk).partialValue)
        case .finished:
            precondition(position == stream.count)
            return result
        }
    }
}

/// The bytes of `element`, written again.
func encode(_ element: StreamElement, blocks: RAMBlockTable, source: RawSpan) -> [UInt8] {
    let count = StreamEncoder.byteCount(of: element, blocks: blocks)
    return write(byteCount: count) { writer in
        StreamEncoder.write(element, blocks: blocks, source: source, into: &writer)
    }
}

/// The bytes that `body` writes, which must be exactly `byteCount`.
func write(byteCount: Int, _ body: (inout StreamWriter) -> Void) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xee, count: byteCount)
    var span = bytes.mutableSpan
    var writer = StreamWriter(span.mutableBytes)
    body(&writer)
    precondition(writer.byteCount == byteCount, "\(writer.byteCount) bytes written, \(byteCount) announced")
    return bytes
}

extension RawSpan {
    func equals(_ other: [UInt8]) -> Bool {
        guard byteCount == other.count else { return false }
        return withUnsafeBytes { left in
            other.withUnsafeBytes { right in
                guard let left = left.baseAddress, let right = right.baseAddress else { return true }
                return memcmp(left, right, other.count) == 0
            }
        }
    }

    func array(_ range: Range<Int>) -> [UInt8] { extracting(range).withUnsafeBytes { Array($0) } }
}
