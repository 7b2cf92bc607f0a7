/// What passed through a relay.
public struct RelayReport: Sendable {
    /// One connection of the source, and the one that was made for it to the destination.
    public struct Connection: Sendable {
        /// Counts from 0 in the order in which the source connected.
        public let number: Int
        /// What the source sends on it; nil if it sent nothing.
        public var kind: ChannelKind?
        /// From the source to the destination.
        public var forward = RewriteReport()
        /// From the destination to the source.
        public var backward = RewriteReport()
        /// Why it ended before its time, in the order in which it was seen.
        public var failures: [String] = []
    }

    /// All connections, in order.
    public var connections: [Connection] = []
    /// Whether a main channel came to its end mark.
    public var isComplete = false

    /// Whether anything went wrong on a connection.
    public var hasFailures: Bool { connections.contains { !$0.failures.isEmpty } }

    /// A line per connection and direction.
    public var text: String {
        var lines: [String] = []
        for connection in connections {
            let name = "connection \(connection.number)"
            let kind = connection.kind?.rawValue ?? "silent"
            lines.append("\(name) \(kind): \(Self.text(of: connection.forward, kind: connection.kind))")
            if connection.backward.readByteCount > 0 {
                lines.append("\(name) return-path: \(Self.text(of: connection.backward, kind: .returnPath))")
            }
            lines.append(contentsOf: connection.failures.map { "\(name): \($0)" })
        }
        return lines.joined(separator: "\n")
    }

    private static func text(of report: RewriteReport, kind: ChannelKind?) -> String {
        let items =
            switch kind {
            case .multifd: "packets"
            case .returnPath: "messages"
            default: "items"
            }
        let counts: [(Int, String)] = [
            (report.elementCount, items), (report.plainPageCount, "plain pages"),
            (report.zeroPageCount, "zero pages"), (report.xbzrlePageCount, "XBZRLE pages"),
            (report.compressedPageCount, "compressed pages"), (report.encodedDeviceCount, "device states"),
            (report.copiedDeviceCount, "device states passed on"), (report.syncCount, "syncs"),
            (report.pageRequestCount, "page requests"), (report.changedElementCount, "encoded differently"),
        ]
        let parts = counts.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }
        return (["\(report.readByteCount) bytes"] + parts).joined(separator: ", ")
    }
}
