import ArgumentParser
import QMP

/// `100` MiB/s, or bytes per second with a suffix: 100M, 1G, 500k.
struct Rate: ExpressibleByArgument, Equatable {
    var bytesPerSecond: Int

    init(bytesPerSecond: Int) { self.bytesPerSecond = bytesPerSecond }

    init?(argument: String) {
        guard let number = ByteSize.parse(argument) else { return nil }
        let isPlain = argument.allSatisfy(\.isNumber)
        guard !isPlain || number <= Int.max >> 20 else { return nil }
        bytesPerSecond = isPlain ? number << 20 : number
    }

    var defaultValueDescription: String { "\(bytesPerSecond >> 20) MiB/s" }
}

/// `64M`, `1G`.
struct ByteSizeOption: ExpressibleByArgument, Equatable {
    var byteCount: Int

    init(byteCount: Int) { self.byteCount = byteCount }

    init?(argument: String) {
        guard let byteCount = ByteSize.parse(argument) else { return nil }
        self.byteCount = byteCount
    }

    var defaultValueDescription: String { "\(byteCount >> 20)M" }
}

/// Refuses a number outside of what an option can be; one that was not given is fine.
func check(_ value: Int?, _ range: ClosedRange<Int>, _ option: String) throws {
    guard let value, !range.contains(value) else { return }
    throw ValidationError("\(option) \(value): \(range.lowerBound) to \(range.upperBound) are possible.")
}
