/// Cuts a migration stream into elements, without doing I/O and without keeping any of its bytes.
///
/// The caller holds the bytes. It gives the unread ones to `next(in:ended:)` and gets the next element and how many
/// bytes it took, or learns how many more are needed at least:
///
///     var decoder = StreamDecoder()
///     while true {
///         switch try decoder.next(in: buffer.unread, ended: buffer.isAtEnd) {
///         case .element(let element, let byteCount): use(element, buffer.unread); buffer.skip(byteCount)
///         case .needsMore(let byteCount): try buffer.refill(atLeast: byteCount)
///         case .finished: return
///         }
///     }
///
/// What it does not copy it does not limit the speed of: plain pages are looked at once for every 4104 bytes.
///
/// A state machine; each arrow is one element:
///
///     start --header--> top --configuration--> configuration --subsection--> configuration
///     top --section--> ram | device --payload--> footer --footer--> top
///     ram --ramBlockList--> blockList --ramBlock--> blockList | mapped | ram
///     top --endOfStream--> ended --description--> finished
///
/// After an error the decoder is of no further use.
public struct StreamDecoder: Sendable {
    /// Without payloads: it is looked at for every element, and a string inside would be counted each time.
    enum State: Equatable, Sendable {
        case start
        case top
        case configuration
        case ram
        case blockList
        case mapped
        case device
        case footer
        case records
        case ended
        case finished
    }

    /// The bounds that lengths are held against.
    public let limits: StreamLimits
    /// What the caller said about the stream.
    public let options: StreamOptions
    /// The absolute offset of the next element.
    public private(set) var offset: Int
    /// The RAM blocks announced or named so far.
    public internal(set) var blocks = RAMBlockTable()
    /// The machine's name, once the configuration section told it.
    public internal(set) var machine: String?
    /// The subsections of the configuration section.
    public internal(set) var configuration: [ConfigurationSubsection] = []
    /// The page sizes that a post-copy would use, if the stream allows one.
    public internal(set) var postcopyAdvice: PostcopyAdvice?
    /// Whether post-copy was advised.
    public internal(set) var isPostcopyAdvised = false
    /// The device sections so far, in order.
    public internal(set) var deviceSections: [DeviceSectionRecord] = []
    /// What the last `deviceState` element holds; nil if its end was searched for, because the device is not known here.
    public internal(set) var deviceState: (any DeviceState)?
    /// Whether the end of any section was searched for. Only the description at the stream's end can confirm such.
    public internal(set) var hasSearchedSections = false
    /// Bytes of a page.
    public internal(set) var pageByteCount: Int

    var state: State
    /// The section in which the stream is: from its header to its footer.
    var section = SectionHeader(kind: .full, id: 0, name: "", instance: 0, version: 0)
    /// Bytes of the blocks that the block list has yet to name.
    var unlistedByteCount = 0
    /// The absolute offset of the mapped region that the stream is in; its block is the last one of `blocks`.
    var mappedOffset = 0
    /// The sections that START announced.
    var startedSections: [UInt32: SectionHeader] = [:]
    /// The block of the last page record, which a record can continue.
    var currentBlock: RAMBlockID?
    /// The bytes of that block.
    var currentBlockByteCount = 0
    /// How far the search for the end of the present device section has come, so that it need not start over.
    var searchedByteCount = 0

    /// A decoder at the beginning of a stream.
    public init(options: StreamOptions = StreamOptions(), limits: StreamLimits = StreamLimits()) {
        self.options = options
        self.limits = limits
        offset = options.baseOffset
        pageByteCount = options.pageByteCount
        switch options.kind {
        case .migration: state = .start
        case .recovery, .package: state = .top
        case .preempt: state = .records
        }
    }

    /// A decoder for what a `package` element holds, whose contents begin at `offset` of this stream.
    public func packageDecoder(offset: Int) -> StreamDecoder {
        decoder(kind: .package, offset: offset)
    }

    /// A decoder for the main channel of a recovery after this stream was cut.
    public func recoveryDecoder() -> StreamDecoder {
        decoder(kind: .recovery, offset: 0)
    }

    /// A decoder for the preempt channel beside this main channel.
    public func preemptDecoder() -> StreamDecoder {
        decoder(kind: .preempt, offset: 0)
    }

    private func decoder(kind: StreamOptions.Kind, offset: Int) -> StreamDecoder {
        var options = options
        options.kind = kind
        options.baseOffset = offset
        options.pageByteCount = pageByteCount
        var decoder = StreamDecoder(options: options, limits: limits)
        decoder.blocks = blocks
        decoder.startedSections = startedSections
        decoder.machine = machine
        decoder.configuration = configuration
        decoder.isPostcopyAdvised = isPostcopyAdvised
        decoder.postcopyAdvice = postcopyAdvice
        return decoder
    }

    /// Decodes the element at the beginning of `bytes`.
    ///
    /// `bytes` are all unread bytes that the caller has, and `ended` says that none will follow them. An element is
    /// never larger than `StreamLimits.maximumElementByteCount`; a run of pages or a piece of a mapped region is made
    /// to fit into what is there.
    ///
    /// - Throws: `StreamError` when the bytes are not a stream, or `ended` and there is too little of it.
    public mutating func next(in bytes: RawSpan, ended: Bool) throws(StreamError) -> StreamStep {
        if bytes.isEmpty {
            guard ended else { return .needsMore(byteCount: 1) }
            guard mayEnd else { throw .truncated(part: partAtEnd, offset: offset, missing: 1) }
            return .finished
        }
        var reader = StreamReader(bytes, baseOffset: offset)
        let element: StreamElement
        do {
            element = try decode(&reader, ended: ended)
        } catch .truncated(_, _, let missing) where !ended {
            return .needsMore(byteCount: missing)
        }
        offset += reader.position
        return .element(element, byteCount: reader.position)
    }

    /// Goes on behind `pageCount` plain pages that follow the run decoded last: records that continue its block, which
    /// the caller has received and checked by itself.
    public mutating func passOver(pageCount: Int) {
        precondition(state == .ram || state == .records, "pages are passed over outside of a RAM section")
        offset += pageCount * (RAMPageHeader.byteCount + pageByteCount)
    }

    /// Whether the stream may end before the next element.
    private var mayEnd: Bool {
        switch state {
        case .ended, .finished, .records: true
        case .top: options.kind == .package
        default: false
        }
    }

    private var partAtEnd: String {
        switch state {
        case .start: "the header"
        case .top, .configuration: "the state, before its end mark"
        case .footer: "the footer of section \(section.name)"
        case .device: "section \(section.name)"
        default: "the RAM section"
        }
    }

    @_lifetime(reader: copy reader)
    private mutating func decode(_ reader: inout StreamReader, ended: Bool) throws(StreamError) -> StreamElement {
        switch state {
        case .ram, .records:
            return try decodeRAMRecord(&reader)
        case .blockList:
            return try decodeBlock(&reader)
        case .mapped:
            return decodeMappedPiece(&reader)
        case .device:
            return try decodeDeviceState(&reader, ended: ended)
        case .footer:
            return try decodeFooter(&reader)
        case .start:
            try reader.expectUInt32(migrationStreamMagic, "stream's magic")
            try reader.expectUInt32(migrationStreamVersion, "stream's version")
            state = .top
            return .header
        case .top, .configuration:
            return try decodeTop(&reader, ended: ended)
        case .ended:
            let found = try reader.readUInt8("the description")
            guard found == SectionType.description.rawValue else {
                throw .trailingBytes(offset: reader.offset - 1, count: reader.remainingByteCount + 1)
            }
            return try decodeDescription(&reader)
        case .finished:
            throw .trailingBytes(offset: reader.offset, count: reader.remainingByteCount)
        }
    }
}
