import MigrationStream

/// Measures the codec from memory and says whether decoding non-zero pages reaches 5 GB/s.
///
///     DecodeBenchmark [MiB [rounds]]
///
/// The rounds of all rows are interleaved, so that a change in the machine's load touches all alike. What is counted
/// is bytes of stream; the decoder leaves a page's bytes where they lie, so that row measures finding the pages.
@main struct DecodeBenchmark {
    static let promise = 5.0
    static let window = 1 << 20

    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst().compactMap { Int($0) }
        let pageCount = max(1, arguments.first ?? 256) << 8
        let rounds = max(1, arguments.dropFirst().first ?? 9)
        let plain = SyntheticStream(pageCount: pageCount) { _ in false }
        let mixed = SyntheticStream(pageCount: pageCount) { $0 % 2 == 0 }
        let zero = SyntheticStream(pageCount: pageCount) { _ in true }
        var output = [UInt8](repeating: 0, count: window + 8192)
        var rows = [
            Measurement("decode plain pages", byteCount: plain.bytes.count, pageCount: pageCount),
            Measurement("decode plain and zero pages in turn", byteCount: mixed.bytes.count, pageCount: pageCount),
            Measurement("decode zero pages", byteCount: zero.bytes.count, pageCount: pageCount),
            Measurement("decode plain pages and encode them again", byteCount: plain.bytes.count, pageCount: pageCount),
            Measurement("zero page test, zero pages in cache", byteCount: pageCount * 4096, pageCount: pageCount),
        ]
        let zeros = [UInt8](repeating: 0, count: 4096 * 8)
        for _ in 0..<rounds {
            try rows[0].add(giving: pageCount) { try plain.decode(window: window) }
            try rows[1].add(giving: pageCount) { try mixed.decode(window: window) }
            try rows[2].add(giving: pageCount) { try zero.decode(window: window) }
            try rows[3].add(giving: plain.bytes.count) { try plain.rewrite(window: window, output: &output) }
            rows[4].add(giving: pageCount) { countZeroPages(zeros, pageCount: pageCount) }
        }
        rows.append(contentsOf: try measureXBZRLE(rounds: rounds))
        print("\(pageCount >> 8) MiB of pages, \(rounds) rounds".padding(to: 44) + "  GB/s     best   ns/page")
        for row in rows { print(row.line) }
        let isKept = rows[0].gigabytesPerSecond >= promise
        let hundredths = Int(rows[0].gigabytesPerSecond * 100)
        let text = "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
        print(
            "  \(isKept ? "holds" : "FAILS")  decoding non-zero pages from memory, GB/s: \(text), "
                + "at least \(promise) is promised")
        if !isKept { throw PromiseBroken() }
    }

    struct PromiseBroken: Error {}

    /// Tests `pageCount` zero pages, the same 8, which stay in the cache, again and again.
    private static func countZeroPages(_ zeros: [UInt8], pageCount: Int) -> Int {
        var count = 0
        for index in 0..<pageCount {
            let start = index % 8 * 4096
            if isZeroPage(zeros.span.bytes.extracting(start..<(start + 4096))) { count += 1 }
        }
        return count
    }

    /// Encodes and applies an update of a page of which every 64th byte differs, 10000 times a round.
    private static func measureXBZRLE(rounds: Int) throws -> [Measurement] {
        let old = [UInt8](repeating: 7, count: 4096)
        let new = (0..<4096).map { UInt8($0 % 64 == 0 ? 9 : 7) }
        var update = [UInt8](repeating: 0, count: 4096)
        var page = old
        let count = 10000
        var encoding = Measurement("XBZRLE encode, 64 bytes differ", byteCount: count * 4096, pageCount: count)
        var applying = Measurement("XBZRLE apply, 64 bytes differ", byteCount: count * 4096, pageCount: count)
        // Each change takes 3 bytes; the 63 unchanged bytes between them fit one byte of length.
        let length = 64 * 3
        for _ in 0..<rounds {
            encoding.add(giving: length * count) {
                var sum = 0
                for _ in 0..<count {
                    var span = update.mutableSpan
                    var raw = span.mutableBytes
                    sum += XBZRLE.encode(old: old.span.bytes, new: new.span.bytes, into: &raw) ?? 0
                }
                return sum
            }
            try applying.add(giving: count) {
                for _ in 0..<count {
                    var span = page.mutableSpan
                    var raw = span.mutableBytes
                    try XBZRLE.apply(update.span.bytes.extracting(0..<length), to: &raw)
                }
                return count
            }
            precondition(page == new, "the update made another page")
        }
        return [encoding, applying]
    }
}

extension String {
    fileprivate func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
