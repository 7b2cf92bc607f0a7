import MigrationStream

/// What a destination sent.
public struct ReturnPathSummary: Sendable {
    /// The first messages in words.
    public var messages: [String] = []
    public var messageCount = 0
    public var pageRequestCount = 0
    /// Requests by block, in the order in which blocks came first.
    public var requestCounts: [(block: String, count: Int)] = []
    public var byteCount = 0
    /// What the last message, SHUT, said; nil if there was none.
    public var shut: UInt32?
    public var failure: String?

    /// Messages that are kept.
    public static let maximumMessageCount = 1000
    static let maximumBlockCount = 4096

    /// Reads all of `input`.
    init(scanning input: inout StreamInput) throws {
        do {
            try scan(&input)
        } catch let error as StreamError {
            failure = "\(error)"
        }
        byteCount = input.byteCount
    }

    private mutating func scan(_ input: inout StreamInput) throws {
        var decoder = ReturnPathDecoder()
        var block = ""
        while true {
            switch try decoder.next(in: input.unread, ended: input.hasEnded) {
            case .message(let message, let byteCount):
                if case .pageRequest(let request) = message {
                    block = request.block ?? block
                    countRequest(of: block)
                }
                if case .shut(let value) = message { shut = value }
                messageCount += 1
                if messages.count < Self.maximumMessageCount { messages.append(Self.text(of: message)) }
                input.take(byteCount)
            case .needsMore(let byteCount):
                try input.fill(atLeast: byteCount)
            case .finished:
                return
            }
        }
    }

    private mutating func countRequest(of block: String) {
        pageRequestCount += 1
        if let index = requestCounts.firstIndex(where: { $0.block == block }) {
            requestCounts[index].count += 1
        } else if requestCounts.count < Self.maximumBlockCount {
            requestCounts.append((block, 1))
        }
    }

    private static func text(of message: ReturnPathMessage) -> String {
        switch message {
        case .shut(let value): value == 0 ? "shut 0 (loaded)" : "shut \(value) (failed)"
        case .pong(let value): "pong \(value)"
        case .pageRequest(let request):
            "request \(request.block ?? "(same block)") \(hexadecimal(Int(truncatingIfNeeded: request.blockOffset))) "
                + "\(request.byteCount) bytes"
        case .receivedBitmap(let block, let bitmap): "received bitmap of \(block), \(bitmap.count) bytes"
        case .resumeAcknowledged(let value): "resume acknowledged \(value)"
        case .switchoverAcknowledged: "switchover acknowledged"
        case .refusal(let text): "refuses the guest: \(text)"
        case .arrival(let resume, let announce):
            "the guest runs after \(resume / 1000) us, announced in \(announce / 1000) us"
        }
    }
}

extension ReturnPathSummary {
    var headline: String {
        "return path, \(counted(byteCount, "byte")), \(counted(messageCount, "message")), "
            + counted(pageRequestCount, "page request")
    }

    var text: String {
        var lines = [headline]
        lines += requestCounts.map { "  \($0.count) page requests of \($0.block)" }
        lines += messages.filter { !$0.hasPrefix("request ") || pageRequestCount <= 100 }.map { "  \($0)" }
        if messages.count < messageCount { lines.append("  … \(messageCount - messages.count) more") }
        return lines.joined(separator: "\n") + "\n"
    }

    var json: JSONValue {
        .object([
            .init("kind", .string(ChannelKind.returnPath.rawValue)), .init("bytes", .number(byteCount)),
            .init("messages", .number(messageCount)), .init("page-requests", .number(pageRequestCount)),
            .init(
                "page-requests-by-block",
                .object(requestCounts.map { .init($0.block, .number($0.count)) })),
            .init("first-messages", .array(messages.map { .string($0) })),
            .init("shut", shut.map { .number(Int($0)) } ?? .null),
            .init("failure", failure.map { .string($0) } ?? .null),
        ])
    }
}

extension JSONValue {
    static func number(_ value: Int) -> JSONValue { .integer(Int64(value)) }
}
