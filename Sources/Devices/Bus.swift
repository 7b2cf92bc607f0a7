/// A device whose registers answer reads and writes.
public protocol RegisterDevice: Device {
    /// Reads `width` bytes (1, 2, 4 or 8) at `offset` in the device's range, little-endian in the low bits.
    func read(at offset: UInt64, width: Int) -> UInt64
    /// Writes the low `width` bytes (1, 2, 4 or 8) of `value` at `offset`.
    func write(_ value: UInt64, at offset: UInt64, width: Int)
}

/// An address space of registers: the guest's I/O ports, or the holes in its memory.
///
/// Built once, never changed, so that virtual CPU threads look up without a lock.
public final class Bus: Sendable {
    /// A range of addresses that belongs to a device.
    public struct Mapping: Sendable {
        public let address: UInt64
        public let byteCount: UInt64
        public let device: any RegisterDevice

        public init(address: UInt64, byteCount: UInt64, device: any RegisterDevice) {
            precondition(byteCount > 0 && address <= .max - (byteCount - 1), "\(device.name) at \(address)")
            self.address = address
            self.byteCount = byteCount
            self.device = device
        }
    }

    /// Sorted by address.
    public let mappings: [Mapping]
    /// What a read finds where no device is: all ones on ports, zero in memory, as QEMU's machines have it.
    private let emptyValue: UInt64

    /// - Precondition: no two mappings overlap.
    private init(_ mappings: [Mapping], emptyValue: UInt64) {
        let sorted = mappings.sorted { $0.address < $1.address }
        for (lower, upper) in zip(sorted, sorted.dropFirst()) {
            precondition(
                upper.address - lower.address >= lower.byteCount,
                "\(lower.device.name) and \(upper.device.name) overlap at \(upper.address)")
        }
        self.mappings = sorted
        self.emptyValue = emptyValue
    }

    /// The I/O ports.
    public static func ports(_ mappings: [Mapping]) -> Bus { Bus(mappings, emptyValue: .max) }

    /// Registers in memory.
    public static func memory(_ mappings: [Mapping]) -> Bus { Bus(mappings, emptyValue: 0) }

    /// Reads `width` bytes; where no device is, the bus's empty value cut to that width.
    ///
    /// An access that begins in a device and reaches past its end reaches no device.
    public func read(at address: UInt64, width: Int) -> UInt64 {
        precondition(width >= 1 && width <= 8, "an access of \(width) bytes")
        let mask = width == 8 ? UInt64.max : (1 << UInt64(width * 8)) - 1
        guard let mapping = mapping(at: address, width: width) else { return emptyValue & mask }
        return mapping.device.read(at: address - mapping.address, width: width) & mask
    }

    /// Writes `width` bytes; where no device is, nothing happens.
    public func write(_ value: UInt64, at address: UInt64, width: Int) {
        precondition(width >= 1 && width <= 8, "an access of \(width) bytes")
        guard let mapping = mapping(at: address, width: width) else { return }
        mapping.device.write(value, at: address - mapping.address, width: width)
    }

    private func mapping(at address: UInt64, width: Int) -> Mapping? {
        var low = 0
        var high = mappings.count
        while low < high {
            let middle = (low + high) / 2
            if mappings[middle].address <= address { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return nil }
        let found = mappings[low - 1]
        let offset = address - found.address
        guard offset < found.byteCount, UInt64(width) <= found.byteCount - offset else { return nil }
        return found
    }
}
