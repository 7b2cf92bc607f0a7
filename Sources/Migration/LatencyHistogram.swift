/// How often something took how long: 16 steps for each doubling, so that a quantile is right within 4.5 percent.
public struct LatencyHistogram: Equatable, Sendable {
    private var counts: [Int] = []
    public private(set) var count = 0
    public private(set) var maximum: Duration = .zero
    /// All of them added up.
    public private(set) var total: Duration = .zero

    private static let stepBits = 4

    public init() {}

    public mutating func add(_ duration: Duration) {
        let index = Self.index(of: max(0, duration.wholeNanoseconds))
        if index >= counts.count { counts += [Int](repeating: 0, count: index + 1 - counts.count) }
        counts[index] += 1
        count += 1
        maximum = max(maximum, duration)
        total += duration
    }

    /// A time that this part of all, 0 to 1, did not exceed; nil when there is none.
    public func quantile(_ part: Double) -> Duration? {
        guard count > 0 else { return nil }
        let rank = min(count, max(1, Int(part * Double(count) + 0.999_999)))
        var seen = 0
        for (index, number) in counts.enumerated() {
            seen += number
            if seen >= rank { return min(.nanoseconds(Self.upperBound(of: index)), maximum) }
        }
        return maximum
    }

    /// For each power of two of microseconds from 1 on, how many took less than that and not less than half of it.
    public var countsByMicroseconds: [Int] {
        var result: [Int] = []
        for (index, number) in counts.enumerated() where number > 0 {
            let microseconds = Self.upperBound(of: index) / 1000
            let bucket = Int.bitWidth - microseconds.leadingZeroBitCount
            if bucket >= result.count { result += [Int](repeating: 0, count: bucket + 1 - result.count) }
            result[bucket] += number
        }
        return result
    }

    private static func index(of nanoseconds: Int) -> Int {
        if nanoseconds < 1 << stepBits { return nanoseconds }
        let shift = Int.bitWidth - 1 - nanoseconds.leadingZeroBitCount - stepBits
        return ((shift + 1) << stepBits) + ((nanoseconds >> shift) & ((1 << stepBits) - 1))
    }

    private static func upperBound(of index: Int) -> Int {
        if index < 1 << stepBits { return index }
        let shift = (index >> stepBits) - 1
        let step = index & ((1 << stepBits) - 1)
        return (((1 << stepBits) + step + 1) << shift) - 1
    }
}

extension Duration {
    var wholeNanoseconds: Int {
        let (seconds, attoseconds) = components
        return Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
    }
}
