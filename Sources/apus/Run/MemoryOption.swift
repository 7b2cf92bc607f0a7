import ArgumentParser
import LinuxSystem

/// `512M[,shared=on|off][,hugepages=2M|1G]`
struct MemoryOption: Equatable {
    /// The guest's memory grows in steps of this size, whatever backs it.
    static let step = 2 << 20

    var byteCount: Int
    var kind: MemoryMapping.Kind

    static let standard = MemoryOption(byteCount: 512 << 20, kind: .anonymous)

    private init(byteCount: Int, kind: MemoryMapping.Kind) {
        self.byteCount = byteCount
        self.kind = kind
    }

    init(_ argument: String) throws {
        func fail(_ reason: String) -> ValidationError { ValidationError(reason) }
        var parts = argument.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        let size = parts.removeFirst()
        guard let byteCount = ByteSize.parse(size) else { throw fail("'\(size)' is no size, such as 512M or 2G.") }
        self.byteCount = byteCount
        kind = .anonymous
        for part in parts {
            switch part {
            case "shared=on": if kind == .anonymous { kind = .shared }
            case "shared=off":
                // Huge pages are a memfd and can be seen by others in any case.
                if case .hugePages = kind { throw fail("Memory in huge pages is always shared.") }
                kind = .anonymous
            case let text where text.hasPrefix("hugepages="):
                let size = ByteSize.parse(String(text.dropFirst(10)))
                guard let size, size == 2 << 20 || size == 1 << 30 else {
                    throw fail("Huge pages of \(text.dropFirst(10)) are not known: 2M and 1G are.")
                }
                kind = .hugePages(size: size)
            default: throw fail("'\(part)' is not known: shared=on, shared=off, hugepages=2M, hugepages=1G.")
            }
        }
        var step = Self.step
        if case .hugePages(let size) = kind { step = size }
        guard byteCount > 0, byteCount % step == 0 else {
            throw fail("\(byteCount) bytes are no multiple of \(step >> 20) MiB.")
        }
        guard byteCount <= 1 << 46 else { throw fail("\(byteCount >> 30) GiB are more than a guest can address.") }
    }
}

/// Sizes as people write them: 512M, 2G, 4096.
enum ByteSize {
    static func parse(_ text: String) -> Int? {
        let shifts: [Character: Int] = ["k": 10, "K": 10, "m": 20, "M": 20, "g": 30, "G": 30, "t": 40, "T": 40]
        var digits = text[...]
        var shift = 0
        if let last = digits.last, let found = shifts[last] {
            shift = found
            digits.removeLast()
        }
        // Int takes a sign, which no size has.
        guard digits.allSatisfy(\.isWholeNumber), let number = Int(digits), number <= Int.max >> shift else {
            return nil
        }
        return number << shift
    }
}
