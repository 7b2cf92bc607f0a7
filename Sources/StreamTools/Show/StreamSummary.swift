public import MigrationStream

/// What a main, recovery or preempt channel holds.
public struct StreamSummary: Sendable {
    /// One RAM block and the records of its pages.
    public struct Block: Sendable {
        public var name: String
        /// Bytes in use; nil if the channel only names the block.
        public var usedByteCount: Int?
        public var hostPageByteCount: UInt64?
        public var guestAddress: UInt64?
        public var mapping: MappedRAMLayout?
        public var plainPageCount = 0
        public var zeroPageCount = 0
        public var xbzrlePageCount = 0
        public var compressedPageCount = 0
        /// Pages of a mapped-ram file whose bit is set.
        public var mappedPageCount = 0
        /// Pages of which there is at least one record.
        public var sentPages = PageSet()

        /// Pages that the block has, nil if its size is not known.
        public var pageCount: Int? { usedByteCount.map { ($0 + 4095) / 4096 } }
        /// Records of pages.
        public var recordCount: Int { plainPageCount + zeroPageCount + xbzrlePageCount + compressedPageCount }
    }

    /// The parts of one section.
    public struct Section: Sendable {
        public var name: String
        public var id: UInt32
        public var instance: UInt32
        public var version: UInt32
        /// Where its first part begins.
        public var offset: Int
        /// Bytes of all parts with headers and footers.
        public var byteCount: Int
        /// 1 for a whole section; more for one with a START.
        public var partCount: Int
        /// Whether it lies in a package.
        public var isPackaged: Bool
    }

    /// A command and where it stands.
    public struct Command: Sendable {
        public var offset: Int
        public var command: StreamCommand
        public var isPackaged: Bool
    }

    public var kind: ChannelKind
    public var byteCount = 0
    public var machine: String?
    public var configuration: [ConfigurationSubsection] = []
    public var blocks: [Block] = []
    public var sections: [Section] = []
    /// The first `maximumCommandCount` commands.
    public var commands: [Command] = []
    public var commandCount = 0
    public var devices: [DeviceStates.Device] = []
    /// What is wrong with the description at the end; nil if it is fine or absent.
    public var descriptionProblem: String?
    public var descriptionByteCount: Int?
    public var multifdFlushCount = 0
    public var hasEndMark = false
    /// Where the stream stops being one; all else is of what came before.
    public var failure: String?

    /// Commands that are kept.
    public static let maximumCommandCount = 1000

    public init(kind: ChannelKind) { self.kind = kind }

    /// Records of pages in all blocks.
    public var pageRecordCount: Int { blocks.reduce(0) { $0 + $1.recordCount + $1.mappedPageCount } }
}

/// Pages of one block, one bit for each up to the last.
public struct PageSet: Sendable {
    /// Pages of all sets of one stream that are counted: 1 TiB of them, in 32 MiB of bits.
    static let maximumPageCount = 1 << 28

    private var words: [UInt64] = []
    /// How many pages are in the set; nil if some were beyond what is counted.
    public private(set) var count: Int? = 0

    /// Adds pages. `budget` is what all sets together may still grow by, in pages.
    mutating func insert(_ page: Int, count pageCount: Int, budget: inout Int) {
        guard let count else { return }
        let growth = max(0, (page + pageCount + 63) / 64 - words.count)
        guard growth * 64 <= budget else {
            self.count = nil
            words = []
            return
        }
        budget -= growth * 64
        words.append(contentsOf: repeatElement(0, count: growth))
        var added = 0
        for index in page..<(page + pageCount) {
            let bit: UInt64 = 1 << UInt64(index & 63)
            if words[index >> 6] & bit == 0 {
                words[index >> 6] |= bit
                added += 1
            }
        }
        self.count = count + added
    }
}
