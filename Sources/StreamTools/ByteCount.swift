/// A number of bytes as a person reads it: "64 MiB", "1.5 GiB", "812 bytes".
public struct ByteCount: Equatable, Sendable, CustomStringConvertible {
    public let value: Int

    public init(_ value: Int) { self.value = value }

    public var description: String {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB"]
        guard value >= 1024 else { return value == 1 ? "1 byte" : "\(value) bytes" }
        var unit = 0
        var scale = 1024
        while unit + 1 < units.count, value / scale >= 1024 {
            unit += 1
            scale *= 1024
        }
        let tenths = (value % scale) * 10 / scale
        let isRound = value % scale == 0 || value / scale >= 100
        return isRound ? "\(value / scale) \(units[unit])" : "\(value / scale).\(tenths) \(units[unit])"
    }
}
