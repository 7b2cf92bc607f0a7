import LinuxSystem
public import MigrationStream
import PageCompression

/// What a multifd channel holds.
public struct MultifdSummary: Sendable {
    /// The pages of one block on this channel.
    public struct Block: Sendable {
        public var name: String
        public var normalPageCount = 0
        public var zeroPageCount = 0
    }

    public var byteCount = 0
    public var channel: UInt8?
    public var uuid: MachineUUID?
    public var packetCount = 0
    public var syncCount = 0
    public var deviceStatePacketCount = 0
    public var compression: String?
    /// Bytes of the packets' data.
    public var dataByteCount = 0
    /// Blocks in the order in which they came first; at most `maximumBlockCount`.
    public var blocks: [Block] = []
    public var failure: String?

    static let maximumBlockCount = 4096

    /// Reads all of `input`, and inflates what is compressed.
    init(scanning input: inout StreamInput) throws {
        do {
            try scan(&input)
        } catch let error as SystemError {
            throw error
        } catch {
            failure = "\(error)"
        }
        byteCount = input.byteCount
    }

    private mutating func scan(_ input: inout StreamInput) throws {
        var decoder = MultifdDecoder()
        var inflater = PacketPageInflater()
        while true {
            let offset = decoder.offset
            switch try decoder.next(in: input.unread, ended: input.hasEnded) {
            case .element(let element, let byteCount):
                if case .packet(let packet, let data) = element {
                    try count(packet, input.unread.extracting(data), &inflater, at: offset)
                } else {
                    count(element)
                }
                input.take(byteCount)
            case .needsMore(let byteCount):
                try input.fill(atLeast: byteCount)
            case .finished:
                return
            }
        }
    }

    private mutating func count(_ element: MultifdElement) {
        switch element {
        case .hello(let hello): (channel, uuid) = (hello.channel, hello.uuid)
        case .deviceState: deviceStatePacketCount += 1
        case .packet: break
        }
    }

    private mutating func count(
        _ packet: MultifdPacket, _ data: RawSpan, _ inflater: inout PacketPageInflater, at offset: Int
    ) throws {
        packetCount += 1
        if packet.flags.contains(.sync) { syncCount += 1 }
        dataByteCount += data.byteCount
        guard packet.normalPageCount + packet.zeroPageCount > 0 else { return }
        do {
            if try inflater.inflate(packet, data, pageByteCount: 4096) { compression = inflater.method?.rawValue }
        } catch {
            throw DamagedPacket(offset: offset, packetNumber: packet.packetNumber, reason: "\(error)")
        }
        var index = blocks.firstIndex { $0.name == packet.block }
        if index == nil, blocks.count < Self.maximumBlockCount {
            index = blocks.count
            blocks.append(Block(name: packet.block))
        }
        guard let index else { return }
        blocks[index].normalPageCount += packet.normalPageCount
        blocks[index].zeroPageCount += packet.zeroPageCount
    }
}

/// A packet whose data does not make the pages it announces.
struct DamagedPacket: Error, CustomStringConvertible {
    let offset: Int
    let packetNumber: UInt64
    let reason: String

    var description: String {
        "Packet \(packetNumber) cannot be read, at offset \(offset) (\(hexadecimal(offset))): \(reason)"
    }
}

extension MultifdSummary {
    var headline: String {
        let pages = blocks.reduce(0) { $0 + $1.normalPageCount + $1.zeroPageCount }
        return "multifd channel \(channel.map { "\($0)" } ?? "?"), \(counted(byteCount, "byte")), "
            + "\(counted(packetCount, "packet")), \(counted(pages, "page")), \(counted(syncCount, "sync"))"
            + (compression.map { ", \($0)" } ?? "")
    }

    var text: String {
        var table = TextTable(["block", "pages", "zero pages"], [.left, .right, .right])
        for block in blocks { table.append([block.name, "\(block.normalPageCount)", unlessZero(block.zeroPageCount)]) }
        var text = headline + "\n"
        if let uuid, uuid != .none { text += "uuid \(uuid)\n" }
        if deviceStatePacketCount > 0 { text += "\(deviceStatePacketCount) packets of device state\n" }
        if compression != nil { text += "\(dataByteCount) bytes of compressed pages\n" }
        return text + (table.isEmpty ? "" : table.text())
    }

    var json: JSONValue {
        .object([
            .init("kind", .string(ChannelKind.multifd.rawValue)), .init("bytes", .number(byteCount)),
            .init("channel", channel.map { .number(Int($0)) } ?? .null),
            .init("uuid", uuid.map { .string("\($0)") } ?? .null), .init("packets", .number(packetCount)),
            .init("syncs", .number(syncCount)), .init("device-state-packets", .number(deviceStatePacketCount)),
            .init("compression", .string(compression ?? "none")), .init("data-bytes", .number(dataByteCount)),
            .init(
                "blocks",
                .array(
                    blocks.map {
                        .object([
                            .init("name", .string($0.name)), .init("normal-pages", .number($0.normalPageCount)),
                            .init("zero-pages", .number($0.zeroPageCount)),
                        ])
                    })),
            .init("failure", failure.map { .string($0) } ?? .null),
        ])
    }
}
