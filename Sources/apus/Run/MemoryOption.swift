import ArgumentParser
import LinuxSystem

/// `512M[,shared=on|off][,hugepages=2M|1G]`
struct MemoryOption: ExpressibleByArgument {
    var byteCount: Int
    var kind: MemoryMapping.Kind

    init?(argument: String) {
        var parts = argument.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard let byteCount = ByteSize.parse(parts.removeFirst()) else { return nil }
        self.byteCount = byteCount
        kind = .anonymous
        for part in parts {
            switch part {
            case "shared=on": if kind == .anonymous { kind = .shared }
            case "shared=off": break
            case let text where text.hasPrefix("hugepages="):
                guard let size = ByteSize.parse(String(text.dropFirst(10))), size == 2 << 20 || size == 1 << 30 else {
                    return nil
                }
                kind = .hugePages(size: size)
            default: return nil
            }
        }
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
        guard let number = Int(digits), number >= 0, number <= Int.max >> shift else { return nil }
        return number << shift
    }
}
