import MigrationStream

/// Decodes what the destination sends and encodes it again.
struct ReturnPathCodec: ChannelCodec {
    private(set) var report = RewriteReport()
    let replacement: [UInt8] = []
    private var decoder = ReturnPathDecoder()
    private var scratch: [UInt8] = []

    mutating func step(_ input: inout StreamInput) throws -> ChannelStep {
        switch try decoder.next(in: input.unread, ended: input.hasEnded) {
        case .message(let message, let byteCount):
            report.elementCount += 1
            if case .pageRequest = message { report.pageRequestCount += 1 }
            if case .shut = message { report.hasEndMark = true }
            let source = input.unread.copy(0..<byteCount)
            let isChanged = input.replaceUnread(byteCount, scratch: &scratch) {
                message.write(source: source.span.bytes, into: &$0)
            }
            if isChanged { report.changedElementCount += 1 }
            return .inPlace(byteCount)
        case .needsMore(let byteCount):
            return .needsMore(byteCount)
        case .finished:
            return .finished
        }
    }
}
