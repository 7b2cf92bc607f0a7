/// One thing that a stream holds, in the order of the wire.
///
/// An element is small: pages, device state and texts are ranges of the span that was given to the decoder, valid for
/// the same bytes only.
///
///     header · configuration · configurationSubsection*
///     command*
///     section(start ram) · ramBlockList · (ramBlock · mappedRAM*)* · … · ramEndOfSection · footer
///     section(part ram) · (pages | xbzrlePage | compressedPage | multifdFlush | rdmaHook)* · ramEndOfSection · footer
///     section(full NAME) · deviceState · footer
///     package                                                a nested stream, see StreamDecoder.packageDecoder
///     endOfStream · description
public enum StreamElement: Equatable, Sendable {
    /// "QEVM" and version 3.
    case header
    /// The configuration section up to its subsections: the machine's name.
    case configuration(machine: String)
    /// A subsection of the configuration section.
    case configurationSubsection(ConfigurationSubsection)
    /// The beginning of a section.
    case section(SectionHeader)
    /// The word that begins the block list; `ramBlock` elements follow until their sizes add up to this many bytes.
    case ramBlockList(totalByteCount: Int)
    /// One block of the list; `StreamDecoder.blocks` describes it.
    case ramBlock(RAMBlockID)
    /// A piece of the file region behind a block's entry in a mapped-ram file.
    case mappedRAM(MappedRAMPiece)
    /// Pages.
    case pages(PageRun)
    /// A page as changes to what it held before. `XBZRLE.apply` makes them.
    case xbzrlePage(EncodedPage)
    /// A page as a zlib stream of its own (QEMU before 9.1).
    case compressedPage(EncodedPage)
    /// The end of a RAM section's records.
    case ramEndOfSection
    /// The source has flushed all multifd channels.
    case multifdFlush
    /// RDMA control messages follow, outside of the stream.
    case rdmaHook
    /// The state of a device.
    case deviceState(DevicePayload)
    /// The end of a section, with its id.
    case footer(sectionID: UInt32)
    /// A command; never `StreamCommand.package`.
    case command(StreamCommand)
    /// A PACKAGED command; the range is the nested stream inside.
    case package(contents: Range<Int>)
    /// The end of the state. Only a description can follow.
    case endOfStream
    /// The JSON that describes the device sections, as text.
    case description(json: Range<Int>)
}

/// What a decoder has to say about the bytes that it was given.
public enum StreamStep: Equatable, Sendable {
    /// An element, and how many bytes it took: give the bytes behind them next.
    case element(StreamElement, byteCount: Int)
    /// Nothing yet: give the same bytes again with at least this many more behind them, or say that they ended.
    case needsMore(byteCount: Int)
    /// The stream is whole and over. Every further call says so too, or throws if more bytes come.
    case finished
}

/// What a decoder must know that the bytes cannot tell.
public struct StreamOptions: Equatable, Sendable {
    /// What kind of stream it is.
    public enum Kind: Equatable, Sendable {
        /// A main channel from its header on.
        case migration
        /// The main channel of a post-copy recovery: no header; the sections were announced on the lost connection.
        case recovery
        /// A preempt channel: bare page records.
        case preempt
        /// The contents of a PACKAGED command.
        case package
    }

    /// What kind of stream it is.
    public var kind: Kind
    /// Whether the block list holds guest addresses (`x-ignore-shared`); nil: as the configuration section says.
    public var ignoresSharedMemory: Bool?
    /// Whether the pages lie in the file (`mapped-ram`); nil: as the configuration section says.
    public var mapsRAM: Bool?
    /// Bytes of a page until a configuration section says something else.
    public var pageByteCount = 4096
    /// Whether the description at the end must be readable and give each section the size that it had, also if the
    /// layouts of all devices were known. A QEMU destination never looks at it.
    public var checksDescription = true
    /// The absolute offset of the first byte, for messages.
    public var baseOffset = 0

    public init(kind: Kind = .migration) { self.kind = kind }
}
