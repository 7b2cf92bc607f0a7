import MigrationStream

/// What looks at each element of a main, recovery or preempt channel, and of the packages inside.
protocol StreamVisitor: ~Copyable {
    /// Looks at an element. Its ranges are of `bytes`; `offset` is where it begins in the stream.
    mutating func visit(
        _ element: StreamElement, at offset: Int, bytes: RawSpan, decoder: borrowing StreamDecoder) throws
}

/// Shows `visitor` every element of a channel, from its beginning to its end.
///
/// A package is shown as one element, and then its contents one by one.
///
/// - Returns: the bytes that were read.
/// - Throws: `StreamError` where the stream is damaged, and what the visitor throws.
@discardableResult
func walk<Visitor: StreamVisitor & ~Copyable>(
    _ input: inout StreamInput, kind: ChannelKind, visitor: inout Visitor
) throws -> Int {
    var decoder = StreamDecoder(options: StreamOptions(kind: kind.streamKind ?? .migration))
    while true {
        let offset = decoder.offset
        switch try decoder.next(in: input.unread, ended: input.hasEnded) {
        case .element(let element, let byteCount):
            try visitor.visit(element, at: offset, bytes: input.unread, decoder: decoder)
            if case .package(let contents) = element {
                try walkPackage(input.unread, contents, at: offset, outer: decoder, visitor: &visitor)
            }
            input.take(byteCount)
        case .needsMore(let byteCount):
            try input.fill(atLeast: byteCount)
        case .finished:
            return input.byteCount
        }
    }
}

private func walkPackage<Visitor: StreamVisitor & ~Copyable>(
    _ bytes: RawSpan, _ contents: Range<Int>, at offset: Int, outer: borrowing StreamDecoder,
    visitor: inout Visitor
) throws {
    var decoder = outer.packageDecoder(offset: offset + contents.lowerBound)
    var position = contents.lowerBound
    while true {
        let unread = bytes.extracting(position..<contents.upperBound)
        guard case .element(let element, let byteCount) = try decoder.next(in: unread, ended: true) else { return }
        try visitor.visit(element, at: offset + position, bytes: unread, decoder: decoder)
        position += byteCount
    }
}
