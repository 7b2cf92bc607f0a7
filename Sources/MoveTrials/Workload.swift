/// What the guest does to its memory while it moves.
public struct Workload: Equatable, Sendable {
    /// MiB a second that it writes.
    public var writeRate: Int
    /// MiB that it writes to; nil: a quarter of its memory.
    public var hotMebibytes: Int?
    /// MiB a second that it reads and compares with what it wrote; nil: as fast as it can.
    public var readRate: Int?

    public init(writeRate: Int, hotMebibytes: Int? = nil, readRate: Int? = nil) {
        self.writeRate = writeRate
        self.hotMebibytes = hotMebibytes
        self.readRate = readRate
    }

    /// Why a text names no workload: one sentence.
    public struct Mistake: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    /// The names, and how much of the link's bandwidth each writes, in percent.
    public static let names: [(name: String, share: Int)] = [
        ("idle", 0), ("light", 10), ("medium", 50), ("heavy", 200),
    ]

    /// Reads `medium`, `64` or `writes=64,hot=32,reads=100`.
    ///
    /// - Parameter bandwidth: MiB a second of the link, of which the names are shares; 0: not limited, counts as 400.
    public init(_ text: String, bandwidth: Int) throws(Mistake) {
        self.init(writeRate: 0)
        let link = bandwidth == 0 ? 400 : bandwidth
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let words = part.split(separator: "=", maxSplits: 1).map(String.init)
            if words.count == 1, let named = Self.names.first(where: { $0.name == words[0] }) {
                writeRate = link * named.share / 100
                continue
            }
            let number = words.last.flatMap { Int($0) }.flatMap { (0...1_000_000).contains($0) ? $0 : nil }
            switch (words.count, words.first, number) {
            case (1, _?, let rate?): writeRate = rate
            case (2, "writes", let rate?): writeRate = rate
            case (2, "hot", let size?) where size > 0: hotMebibytes = size
            case (2, "reads", let rate?): readRate = rate
            case (2, "reads", nil) where words[1] == "max": readRate = nil
            default:
                let names = Self.names.map(\.name).joined(separator: ", ")
                throw Mistake(
                    description: "'\(part)' is no workload: \(names), MiB/s, or writes=MiB/s,hot=MiB,reads=MiB/s|max.")
            }
        }
    }

    /// For a person.
    public var description: String {
        let place = hotMebibytes.map { "\($0) MiB" } ?? "a quarter of its memory"
        let reads = readRate.map { "reads \($0) MiB/s" } ?? "reads all of it round and round, as fast as it can"
        return writeRate == 0 ? "writes nothing, \(reads)" : "writes \(writeRate) MiB/s to \(place), \(reads)"
    }
}
