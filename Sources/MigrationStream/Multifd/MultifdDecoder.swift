/// One thing on a multifd channel.
public enum MultifdElement: Equatable, Sendable {
    /// The channel's beginning.
    case hello(MultifdHello)
    /// Pages, or only a sync; `data` lies in the span given to the decoder.
    case packet(MultifdPacket, data: Range<Int>)
    /// A part of a device's state; `data` lies in the span given to the decoder.
    case deviceState(MultifdDeviceStatePacket, data: Range<Int>)

    /// All bytes of the element.
    public var byteCount: Int {
        switch self {
        case .hello: MultifdHello.byteCount
        case .packet(let packet, let data): packet.byteCount + data.count
        case .deviceState(_, let data): MultifdDeviceStatePacket.byteCount + data.count
        }
    }

    /// Writes the element as it was read; `source` is the span that it was decoded from.
    @_lifetime(writer: copy writer)
    public func write(source: RawSpan, into writer: inout StreamWriter) {
        switch self {
        case .hello(let hello):
            hello.write(into: &writer)
        case .packet(let packet, let data):
            packet.write(into: &writer)
            writer.write(source.part(data))
        case .deviceState(let packet, let data):
            packet.write(into: &writer)
            writer.write(source.part(data))
        }
    }
}

/// Cuts a multifd channel into its hello and packets. The caller holds the bytes, as with `StreamDecoder`.
///
/// A loader that receives pages straight into guest memory decodes the header alone, with `decodePacketHeader`.
public struct MultifdDecoder: Sendable {
    /// What a decoder has to say about the bytes that it was given.
    public enum Step: Equatable, Sendable {
        /// An element, and how many bytes it took.
        case element(MultifdElement, byteCount: Int)
        /// At least this many more bytes are needed.
        case needsMore(byteCount: Int)
        /// The bytes ended between two packets.
        case finished
    }

    /// The bounds that lengths are held against.
    public let limits: StreamLimits
    /// Bytes of a page.
    public let pageByteCount: Int
    /// The absolute offset of the next element on this channel.
    public private(set) var offset: Int
    private var isGreeted: Bool

    /// A decoder at the beginning of a channel, or, if `expectsHello` is false, behind its hello.
    public init(
        pageByteCount: Int = 4096, offset: Int = 0, expectsHello: Bool = true, limits: StreamLimits = StreamLimits()
    ) {
        self.limits = limits
        self.pageByteCount = pageByteCount
        self.offset = offset
        isGreeted = !expectsHello
    }

    /// Decodes the element at the beginning of `bytes`, all unread bytes; `ended` says that none will follow them.
    ///
    /// - Throws: `StreamError` when the bytes are none, or `ended` and there is too little of one.
    public mutating func next(in bytes: RawSpan, ended: Bool) throws(StreamError) -> Step {
        if bytes.isEmpty {
            guard ended else { return .needsMore(byteCount: 1) }
            guard isGreeted else { throw .truncated(part: "the channel's hello", offset: offset, missing: 64) }
            return .finished
        }
        var reader = StreamReader(bytes, baseOffset: offset)
        let element: MultifdElement
        do {
            element = isGreeted ? try decodePacket(&reader) : .hello(try decodeHello(&reader))
        } catch .truncated(_, _, let missing) where !ended {
            return .needsMore(byteCount: missing)
        }
        isGreeted = true
        offset += reader.position
        return .element(element, byteCount: reader.position)
    }

    @_lifetime(reader: copy reader)
    private func decodeHello(_ reader: inout StreamReader) throws(StreamError) -> MultifdHello {
        try reader.require(MultifdHello.byteCount, "a channel's hello")
        try reader.expectUInt32(MultifdHello.magic, "magic of a multifd channel")
        try reader.expectUInt32(MultifdHello.version, "version of a multifd channel")
        let high = try reader.readUInt64("a UUID")
        let low = try reader.readUInt64("a UUID")
        let channel = try reader.readUInt8("a channel's number")
        let unused = try reader.readRange(39, "a channel's hello")
        return MultifdHello(
            uuid: MachineUUID(high: high, low: low), channel: channel,
            unused: reader.bytes.isZero(unused) ? nil : reader.bytes.copy(unused))
    }

    @_lifetime(reader: copy reader)
    private func decodePacket(_ reader: inout StreamReader) throws(StreamError) -> MultifdElement {
        try reader.require(12, "a multifd packet")
        try reader.expectUInt32(MultifdHello.magic, "magic of a multifd packet")
        try reader.expectUInt32(MultifdHello.version, "version of a multifd packet")
        let flagsOffset = reader.offset
        let flags = MultifdFlags(rawValue: try reader.readUInt32("flags of a multifd packet"))
        guard flags.rawValue & ~0x7f == 0 else {
            throw .unexpectedValue(
                field: "flags of a multifd packet", offset: flagsOffset, expected: UInt64(flags.rawValue & 0x7f),
                found: UInt64(flags.rawValue))
        }
        if flags.contains(.deviceState) { return try decodeDeviceState(&reader, flags: flags) }
        let packet = try decodePages(&reader, flags: flags)
        let data = try reader.readRange(packet.dataByteCount, "data of a multifd packet")
        return .packet(packet, data: data)
    }

    @_lifetime(reader: copy reader)
    private func decodePages(
        _ reader: inout StreamReader, flags: MultifdFlags
    ) throws(StreamError) -> MultifdPacket {
        let capacityOffset = reader.offset
        let announcedCapacity = try reader.readUInt32("capacity of a multifd packet")
        let capacity = MultifdPacket.pagesByteCount / pageByteCount
        try check(Int(announcedCapacity), "capacity of a multifd packet", limit: capacity, at: capacityOffset)
        let normal = Int(try reader.readUInt32("pages of a multifd packet"))
        try check(normal, "number of pages of a multifd packet", limit: capacity, at: capacityOffset + 4)
        let announced = try reader.readUInt32("data of a multifd packet")
        if normal > 0 { try checkData(Int(announced), normal: normal, flags: flags, at: capacityOffset + 8) }
        let number = try reader.readUInt64("number of a multifd packet")
        let zero = Int(try reader.readUInt32("zero pages of a multifd packet"))
        try check(zero, "number of zero pages of a multifd packet", limit: capacity - normal, at: reader.offset - 4)
        let unused = try reader.readRange(28, "a multifd packet")
        let (block, remainder) = try decodeName(&reader, mayBeEmpty: normal + zero == 0)
        try reader.require(8 * capacity, "offsets of a multifd packet")
        var offsets: [UInt64] = []
        offsets.reserveCapacity(capacity)
        for index in 0..<capacity {
            let offset = try reader.readUInt64("offsets of a multifd packet")
            guard index >= normal + zero || offset & UInt64(pageByteCount - 1) == 0 else {
                throw .misalignedPage(
                    offset: reader.offset - 8, pageOffset: offset, pageByteCount: pageByteCount)
            }
            offsets.append(offset)
        }
        return MultifdPacket(
            flags: flags, announcedCapacity: announcedCapacity, normalPageCount: normal, zeroPageCount: zero,
            announcedDataByteCount: announced, packetNumber: number, block: block, offsets: offsets,
            unused: reader.bytes.isZero(unused) ? nil : reader.bytes.copy(unused), nameRemainder: remainder)
    }

    private func check(_ value: Int, _ field: String, limit: Int, at offset: Int) throws(StreamError) {
        guard value <= limit else {
            throw .limitExceeded(field: field, offset: offset, limit: limit, found: UInt64(value))
        }
    }

    private func checkData(_ count: Int, normal: Int, flags: MultifdFlags, at offset: Int) throws(StreamError) {
        let field = "data of a multifd packet"
        if flags.compression == .none, count != normal * pageByteCount {
            throw .unexpectedValue(
                field: field, offset: offset, expected: UInt64(normal * pageByteCount), found: UInt64(count))
        }
        let limit = 2 * normal * pageByteCount + limits.maximumMultifdOverheadByteCount
        try check(count, field, limit: limit, at: offset)
    }

    /// Reads 256 bytes of a name, its NUL and what is left behind it.
    @_lifetime(reader: copy reader)
    private func decodeName(
        _ reader: inout StreamReader, mayBeEmpty: Bool
    ) throws(StreamError) -> (String, [UInt8]?) {
        let range = try reader.readRange(256, "name in a multifd packet")
        let bytes = reader.bytes
        var end = range.lowerBound
        while end < range.upperBound, bytes.byte(at: end) != 0 { end += 1 }
        guard end < range.upperBound else {
            throw .limitExceeded(
                field: "length of the name in a multifd packet", offset: reader.baseOffset + range.lowerBound,
                limit: 255, found: 256)
        }
        let name = range.lowerBound..<end
        if !(name.isEmpty && mayBeEmpty) {
            try bytes.checkName(name, field: "name in a multifd packet", baseOffset: reader.baseOffset)
        }
        let rest = (end + 1)..<range.upperBound
        return (String(decoding: bytes.copy(name), as: UTF8.self), bytes.isZero(rest) ? nil : bytes.copy(rest))
    }

    @_lifetime(reader: copy reader)
    private func decodeDeviceState(
        _ reader: inout StreamReader, flags: MultifdFlags
    ) throws(StreamError) -> MultifdElement {
        let (name, remainder) = try decodeName(&reader, mayBeEmpty: false)
        let instance = try reader.readUInt32("instance in a multifd packet")
        let count = Int(try reader.readUInt32("data of a multifd packet"))
        try check(
            count, "data of a multifd packet", limit: limits.maximumDeviceStateByteCount, at: reader.offset - 4)
        let data = try reader.readRange(count, "data of a multifd packet")
        let packet = MultifdDeviceStatePacket(
            flags: flags, name: name, instance: instance, dataByteCount: count, nameRemainder: remainder)
        return .deviceState(packet, data: data)
    }

    /// Decodes a packet's header alone, which `bytes` begin with; the data can then be received where it belongs.
    ///
    /// - Returns: The header, or nil with the number of bytes that are missing at least. A packet with device state
    ///   is not a packet of pages: it throws `misplaced`.
    public func decodePacketHeader(
        in bytes: RawSpan
    ) throws(StreamError) -> (packet: MultifdPacket?, missing: Int) {
        var reader = StreamReader(bytes, baseOffset: offset)
        do throws(StreamError) {
            try reader.expectUInt32(MultifdHello.magic, "magic of a multifd packet")
            try reader.expectUInt32(MultifdHello.version, "version of a multifd packet")
            let flags = MultifdFlags(rawValue: try reader.readUInt32("flags of a multifd packet"))
            guard !flags.contains(.deviceState) else {
                throw .misplaced(item: "device state", offset: offset)
            }
            return (try decodePages(&reader, flags: flags), 0)
        } catch .truncated(_, _, let missing) {
            return (nil, missing)
        }
    }
}
