/// A command of the source to the destination, between sections.
///
///     size  field
///        1  0x08
///        2  command number
///        2  payload length
///        n  payload
///
/// See QEMU migration/savevm.c, qemu_savevm_command_send.
public enum StreamCommand: Equatable, Sendable {
    /// The destination may answer on the return path from now on.
    case openReturnPath
    /// The destination answers with a PONG of this value.
    case ping(UInt32)
    /// Post-copy may follow. Nil sizes if only disks' dirty bitmaps will be post-copied.
    case postcopyAdvise(PostcopyAdvice?)
    /// Register the memory: page requests begin.
    case postcopyListen
    /// Run the guest.
    case postcopyRun
    /// Pages that the destination must forget, because the source still has newer ones.
    case postcopyDiscard(RAMDiscard)
    /// `byteCount` bytes of nested sections and commands follow. A decoder hands the whole out as
    /// `StreamElement.package`; this case is for writing.
    case package(byteCount: Int)
    /// Switch to COLO. Apus never sends it.
    case enableCOLO
    /// The end of the recovery handshake.
    case postcopyResume
    /// The destination answers with the received bitmap of this block.
    case receivedBitmap(block: String)
    /// The guest is stopped, and the last pages and device state follow (QEMU since 10.0).
    case switchoverStart
    /// RAM blocks whose memory comes as descriptors, which travel with this command in the same order: an addition of Apus.
    case localMemory([LocalMemory])
    /// What the source's machine is, for a destination that is Apus: see `PeerGreeting`.
    case machineDescription(MachineDescription)

    /// The number on the wire.
    public var number: UInt16 {
        switch self {
        case .openReturnPath: 1
        case .ping: 2
        case .postcopyAdvise: 3
        case .postcopyListen: 4
        case .postcopyRun: 5
        case .postcopyDiscard: 6
        case .package: 7
        case .enableCOLO: 8
        case .postcopyResume: 9
        case .receivedBitmap: 10
        case .switchoverStart: 11
        case .machineDescription: PeerGreeting.descriptionCommand
        case .localMemory: PeerGreeting.memoryCommand
        }
    }

    /// The bytes of the payload, the length on the wire.
    public var payloadByteCount: Int {
        switch self {
        case .openReturnPath, .postcopyListen, .postcopyRun, .enableCOLO, .postcopyResume, .switchoverStart: 0
        case .ping, .package: 4
        case .postcopyAdvise(let advice): advice == nil ? 0 : 16
        case .postcopyDiscard(let discard): discard.byteCount
        case .receivedBitmap(let block): 1 + block.utf8.count
        case .machineDescription(let description): description.byteCount
        case .localMemory(let blocks): blocks.reduce(2) { $0 + 17 + $1.block.utf8.count }
        }
    }

    /// The bytes of the whole command.
    public var byteCount: Int { 5 + payloadByteCount }

    /// Writes the command.
    @_lifetime(writer: copy writer)
    public func write(into writer: inout StreamWriter) {
        writer.write(SectionType.command.rawValue)
        writer.write(number)
        writer.write(UInt16(payloadByteCount))
        switch self {
        case .ping(let value):
            writer.write(value)
        case .package(let byteCount):
            writer.write(UInt32(byteCount))
        case .postcopyAdvise(let advice?):
            writer.write(advice.pageSizeSummary)
            writer.write(advice.targetPageByteCount)
        case .postcopyDiscard(let discard):
            discard.write(into: &writer)
        case .receivedBitmap(let block):
            writer.writeName(block)
        case .machineDescription(let description):
            description.write(into: &writer)
        case .localMemory(let blocks):
            writer.write(UInt16(blocks.count))
            for block in blocks {
                writer.writeName(block.block)
                writer.write(block.fileOffset)
                writer.write(block.byteCount)
            }
        default:
            break
        }
    }
}

/// The page sizes that both sides of a post-copy must agree on.
public struct PostcopyAdvice: Equatable, Sendable {
    /// The bitwise or of the page sizes of all RAM blocks, in bytes.
    public var pageSizeSummary: UInt64
    /// The guest's page size in bytes.
    public var targetPageByteCount: UInt64

    public init(pageSizeSummary: UInt64, targetPageByteCount: UInt64) {
        self.pageSizeSummary = pageSizeSummary
        self.targetPageByteCount = targetPageByteCount
    }
}

/// Ranges of one block that the destination must forget.
///
///     size  field
///        1  version, 0
///      1+n  name
///        1  0, as the end of the name
///     16×k  start and length in bytes, big-endian, 64 bits each
///
/// See QEMU migration/savevm.c, qemu_savevm_send_postcopy_ram_discard.
public struct RAMDiscard: Equatable, Sendable {
    /// One range, in bytes.
    public struct Range: Equatable, Sendable {
        public var blockOffset: UInt64
        public var byteCount: UInt64

        public init(blockOffset: UInt64, byteCount: UInt64) {
            self.blockOffset = blockOffset
            self.byteCount = byteCount
        }
    }

    /// QEMU puts at most this many ranges in one command.
    public static let maximumRangeCount = 12

    /// The block.
    public var block: String
    /// The ranges, at least one.
    public var ranges: [Range]

    public init(block: String, ranges: [Range]) {
        self.block = block
        self.ranges = ranges
    }

    var byteCount: Int { 3 + block.utf8.count + 16 * ranges.count }

    @_lifetime(writer: copy writer)
    func write(into writer: inout StreamWriter) {
        writer.write(0 as UInt8)
        writer.writeName(block)
        writer.write(0 as UInt8)
        for range in ranges {
            writer.write(range.blockOffset)
            writer.write(range.byteCount)
        }
    }
}
