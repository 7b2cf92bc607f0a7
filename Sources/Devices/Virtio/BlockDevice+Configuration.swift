internal import Synchronization

/// The configuration space of virtio-blk, 57 bytes as QEMU 7.2 has it.
extension BlockDevice {
    enum Layout {
        static let byteCount = 57
        static let writeBack = 32
    }

    /// A discard or write-zeroes covers at most this much, as in QEMU: just under 2 GiB.
    static let largestForgottenSectorCount: UInt32 = 0x3F_FFFF

    /// offset  size  field
    ///      0     8  capacity in sectors of 512 bytes
    ///      8     4  largest segment (not offered)       12  4  most segments in a request
    ///     16     4  cylinders u16, heads u8, sectors u8
    ///     20     4  block size
    ///     24     8  topology: physical block exponent u8, alignment u8, smallest I/O u16, best I/O u32
    ///     32     1  write-back cache                    33  1  unused       34  2  queues
    ///     36    12  discard: most sectors, most segments, alignment in sectors
    ///     48     9  write zeroes: most sectors, most segments, may unmap u8
    public var configuration: [UInt8] {
        let sectorCount = UInt64(backend.byteCount / 512)
        var bytes = [UInt8](repeating: 0, count: Layout.byteCount)
        bytes.store(sectorCount, at: 0)
        bytes.store(UInt32(queueSizes[0]) - 2, at: 12)
        // What QEMU guesses for a disk without a partition table.
        bytes.store(UInt16(min(max(sectorCount / (16 * 63), 2), 16383)), at: 16)
        bytes[18] = 16
        bytes[19] = 63
        bytes.store(UInt32(512), at: 20)
        bytes[Layout.writeBack] = live.withLock { $0.isWriteBack } ? 1 : 0
        bytes.store(UInt16(1), at: 34)
        bytes.store(Self.largestForgottenSectorCount, at: 36)
        bytes.store(UInt32(1), at: 40)
        bytes.store(UInt32(1), at: 44)
        bytes.store(Self.largestForgottenSectorCount, at: 48)
        bytes.store(UInt32(1), at: 52)
        bytes[56] = 1
        return bytes
    }

    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) {
        guard offset <= Layout.writeBack, Layout.writeBack < offset + bytes.count else { return }
        let value = bytes[Layout.writeBack - offset]
        live.withLock { live in
            guard live.acceptedFeatures & Feature.writeCacheControl != 0 else { return }
            live.isWriteBack = value & 1 == 1
        }
    }
}

/// Little-endian fields in bytes that were copied out of guest memory.
extension FixedWidthInteger {
    init(littleEndian bytes: [UInt8], at offset: Int) {
        self = (0..<Self.bitWidth / 8).reduce(0) { $0 | Self(truncatingIfNeeded: bytes[offset + $1]) << Self($1 * 8) }
    }
}

extension [UInt8] {
    mutating func store<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for index in 0..<Value.bitWidth / 8 {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> Value(index * 8))
        }
    }
}
