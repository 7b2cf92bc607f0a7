/// The first 64 bytes of a multifd channel.
///
///     offset  size  field
///          0     4  magic 0x11223344
///          4     4  version 1
///          8    16  the machine's UUID, zeros if it has none
///         24     1  channel, counting from 0
///         25    39  not used
///
/// See QEMU migration/multifd.c, MultiFDInit_t.
public struct MultifdHello: Equatable, Sendable {
    /// The bytes of a hello.
    public static let byteCount = 64
    /// The magic of hellos and packets.
    public static let magic: UInt32 = 0x1122_3344
    /// The version of hellos and packets.
    public static let version: UInt32 = 1

    /// The machine's UUID.
    public var uuid: MachineUUID
    /// The channel.
    public var channel: UInt8
    /// The bytes that are not used, nil if they are zero.
    public var unused: [UInt8]?

    public init(uuid: MachineUUID = .none, channel: UInt8, unused: [UInt8]? = nil) {
        precondition(unused == nil || unused?.count == 39, "39 bytes are not used")
        self.uuid = uuid
        self.channel = channel
        self.unused = unused
    }

    /// Writes the hello.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.write(Self.magic)
        writer.write(Self.version)
        uuid.write(into: &writer)
        writer.write(channel)
        if let unused { writer.write(unused) } else { writer.writeZeros(39) }
    }
}

/// The flags of a multifd packet.
public struct MultifdFlags: OptionSet, Equatable, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// All pages of this pass are on their way: the destination waits for one of these on every channel.
    public static let sync = MultifdFlags(rawValue: 1)
    /// The packet holds device state, not pages (QEMU since 10.0).
    public static let deviceState = MultifdFlags(rawValue: 64)

    /// How the pages are compressed.
    public var compression: MultifdCompression { MultifdCompression(rawValue: rawValue & 0x3e) }
}

/// How the data of a multifd packet is compressed.
public struct MultifdCompression: RawRepresentable, Equatable, Sendable {
    /// The bits as they lie in the flags.
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Not at all: the pages one after another.
    public static let none = MultifdCompression(rawValue: 0)
    /// One deflate stream for each channel.
    public static let zlib = MultifdCompression(rawValue: 1 << 1)
    /// One zstd frame for each channel.
    public static let zstd = MultifdCompression(rawValue: 2 << 1)
}

/// A multifd packet's header; its data follows.
///
///     offset  size  field
///          0     4  magic 0x11223344
///          4     4  version 1
///          8     4  flags
///         12     4  capacity of the offset array; QEMU since 9.0 leaves it 0 in packets without pages
///         16     4  number of pages with data
///         20     4  bytes of data behind this header; stale if there are no pages
///         24     8  packet number
///         32     4  number of pages that are zero (QEMU since 9.0; 0 before)
///         36    28  not used
///         64   256  name of the block, padded with NUL
///        320     8  offsets in the block, always × 128 (512 KiB of pages): first of pages with data, then of zero
///                   pages; the rest stale
///
/// Big-endian. See QEMU migration/multifd.h, MultiFDPacket_t. All of it is kept, stale parts as well, so that it is
/// written again as it was read.
public struct MultifdPacket: Equatable, Sendable {
    /// The bytes before the offsets.
    public static let fixedByteCount = 320
    /// The bytes of pages that one packet can hold, whatever their size: 128 pages of 4 KiB.
    public static let pagesByteCount = 512 << 10

    /// The flags.
    public var flags: MultifdFlags
    /// The capacity field, which is stale or 0 in a packet without pages.
    public var announcedCapacity: UInt32
    /// How many pages have data.
    public var normalPageCount: Int
    /// How many pages are zero.
    public var zeroPageCount: Int
    /// The bytes of data that the field says, which is stale in a packet without pages.
    public var announcedDataByteCount: UInt32
    /// The packet's number, over all channels.
    public var packetNumber: UInt64
    /// The block; stale or empty in a packet without pages.
    public var block: String
    /// All slots of the offset array, stale ones as well.
    public var offsets: [UInt64]
    /// The bytes at 36 that are not used, nil if they are zero.
    public var unused: [UInt8]?
    /// What stands behind the block's name and its NUL, nil if it is zero.
    public var nameRemainder: [UInt8]?

    /// A packet as Apus writes it, nothing stale.
    public init(
        flags: MultifdFlags, packetNumber: UInt64, block: String, normalOffsets: [UInt64], zeroOffsets: [UInt64],
        dataByteCount: Int, pageByteCount: Int = 4096
    ) {
        let capacity = Self.pagesByteCount / pageByteCount
        let count = normalOffsets.count + zeroOffsets.count
        precondition(count <= capacity && block.utf8.count < 256, "\(count) pages of \(capacity) in \(block)")
        self.flags = flags
        self.packetNumber = packetNumber
        self.block = block
        announcedCapacity = UInt32(capacity)
        normalPageCount = normalOffsets.count
        zeroPageCount = zeroOffsets.count
        announcedDataByteCount = UInt32(dataByteCount)
        offsets = normalOffsets + zeroOffsets + [UInt64](repeating: 0, count: capacity - count)
    }

    init(
        flags: MultifdFlags, announcedCapacity: UInt32, normalPageCount: Int, zeroPageCount: Int,
        announcedDataByteCount: UInt32, packetNumber: UInt64, block: String, offsets: [UInt64], unused: [UInt8]?,
        nameRemainder: [UInt8]?
    ) {
        self.flags = flags
        self.announcedCapacity = announcedCapacity
        self.normalPageCount = normalPageCount
        self.zeroPageCount = zeroPageCount
        self.announcedDataByteCount = announcedDataByteCount
        self.packetNumber = packetNumber
        self.block = block
        self.offsets = offsets
        self.unused = unused
        self.nameRemainder = nameRemainder
    }

    /// The bytes of the header.
    public var byteCount: Int { Self.fixedByteCount + 8 * offsets.count }

    /// The bytes of data that follow the header.
    public var dataByteCount: Int { normalPageCount == 0 ? 0 : Int(announcedDataByteCount) }

    /// The offsets in the block of the pages whose bytes are the data, in order.
    public var normalOffsets: ArraySlice<UInt64> { offsets[..<normalPageCount] }

    /// The offsets in the block of the pages that are zero.
    public var zeroOffsets: ArraySlice<UInt64> { offsets[normalPageCount..<(normalPageCount + zeroPageCount)] }

    /// Writes the header.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.write(MultifdHello.magic)
        writer.write(MultifdHello.version)
        writer.write(flags.rawValue)
        writer.write(announcedCapacity)
        writer.write(UInt32(normalPageCount))
        writer.write(announcedDataByteCount)
        writer.write(packetNumber)
        writer.write(UInt32(zeroPageCount))
        if let unused { writer.write(unused) } else { writer.writeZeros(28) }
        writer.writeText(block)
        if let nameRemainder {
            writer.write(0 as UInt8)
            writer.write(nameRemainder)
        } else {
            writer.writeZeros(256 - block.utf8.count)
        }
        for offset in offsets { writer.write(offset) }
    }
}

/// The header of a multifd packet with the state of a device (QEMU since 10.0); its data follows.
///
///     offset  size  field
///          0    12  magic, version, flags with bit 6
///         12   256  name of the device, padded with NUL
///        268     4  instance
///        272     4  bytes of data behind this header
///
/// See QEMU migration/multifd.h, MultiFDPacketDeviceState_t.
public struct MultifdDeviceStatePacket: Equatable, Sendable {
    /// The bytes of the header.
    public static let byteCount = 276

    /// The flags.
    public var flags: MultifdFlags
    /// The device.
    public var name: String
    /// Tells devices of one name apart.
    public var instance: UInt32
    /// The bytes of data that follow.
    public var dataByteCount: Int
    /// What stands behind the name and its NUL, nil if it is zero.
    public var nameRemainder: [UInt8]?

    public init(
        flags: MultifdFlags = .deviceState, name: String, instance: UInt32, dataByteCount: Int,
        nameRemainder: [UInt8]? = nil
    ) {
        self.flags = flags
        self.name = name
        self.instance = instance
        self.dataByteCount = dataByteCount
        self.nameRemainder = nameRemainder
    }

    /// Writes the header.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.write(MultifdHello.magic)
        writer.write(MultifdHello.version)
        writer.write(flags.rawValue)
        writer.writeText(name)
        if let nameRemainder {
            writer.write(0 as UInt8)
            writer.write(nameRemainder)
        } else {
            writer.writeZeros(256 - name.utf8.count)
        }
        writer.write(instance)
        writer.write(UInt32(dataByteCount))
    }
}
