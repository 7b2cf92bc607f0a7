public import LinuxSystem
public import MigrationStream

/// Decodes a main channel wholly and writes it again.
///
/// What goes out is encoded from the decoded values. The bytes of pages stay in the buffer into which they were read:
/// headers are encoded in front of them there, and the whole is written from there. Memory is the same for any length.
public struct StreamRewriter: ~Copyable {
    /// What to change on the way.
    public struct Options: Sendable {
        /// Turns plain pages that hold nothing but zeros into zero records.
        public var convertsZeroPages = false

        public init(convertsZeroPages: Bool = false) { self.convertsZeroPages = convertsZeroPages }
    }

    /// What passed through.
    public struct Report: Equatable, Sendable {
        public var readByteCount = 0
        public var writtenByteCount = 0
        public var elementCount = 0
        public var plainPageCount = 0
        public var zeroPageCount = 0
        /// Plain pages that became zero records.
        public var convertedPageCount = 0
        /// Elements that were encoded differently than they came. Nothing but conversions should do that.
        public var changedElementCount = 0

        public init() {}
    }

    /// What passed through so far.
    public private(set) var report = Report()

    private var input: StreamInput
    private var decoder: StreamDecoder
    private var encoder = ElementEncoder()
    private let output: OwnedDescriptor
    private let options: Options
    /// Bytes that were made here, and go out after all that was taken from the input.
    private var made: [UInt8] = []

    /// Reads from `input` and writes to `output`.
    public init(
        _ input: consuming StreamInput, to output: consuming OwnedDescriptor, options: Options = Options(),
        kind: StreamOptions.Kind = .migration
    ) {
        self.input = input
        self.output = output
        self.options = options
        decoder = StreamDecoder(options: StreamOptions(kind: kind))
        self.output.widenPipe(to: StreamInput.readByteCount)
    }

    /// Rewrites to the end.
    ///
    /// - Throws: `StreamError` where the stream is damaged; all before it has been written.
    public mutating func run() throws {
        while true {
            let step: StreamStep
            do {
                step = try decoder.next(in: input.unread, ended: input.hasEnded)
            } catch {
                try flush()
                throw error
            }
            switch step {
            case .element(let element, let byteCount):
                try rewrite(element, byteCount: byteCount)
            case .needsMore(let byteCount):
                try flush()
                try input.fill(atLeast: byteCount)
                report.readByteCount = input.byteCount
            case .finished:
                try flush()
                return
            }
        }
    }

    private mutating func rewrite(_ element: StreamElement, byteCount: Int) throws {
        report.elementCount += 1
        if case .pages(let run) = element {
            if run.content == .plain {
                report.plainPageCount += run.pageCount
                if options.convertsZeroPages, try convert(run, byteCount: byteCount) { return }
            } else {
                report.zeroPageCount += run.pageCount
            }
        }
        if !made.isEmpty { try flush() }
        if encoder.encode(
            element, byteCount: byteCount, blocks: decoder.blocks, in: &input.storage, at: input.start)
        {
            input.take(byteCount)
        } else {
            try flush()
            input.take(byteCount)
            input.dropTaken()
            made.append(contentsOf: encoder.encoded)
        }
        report.changedElementCount = encoder.changedElementCount
    }

    /// Writes what was taken and then what was made.
    private mutating func flush() throws(SystemError) {
        let range = input.takenRange
        if !range.isEmpty {
            try output.write(all: input.storage.span.bytes.extracting(range))
            report.writtenByteCount += range.count
            input.dropTaken()
        }
        if !made.isEmpty {
            try output.write(all: made.span.bytes)
            report.writtenByteCount += made.count
            made.removeAll(keepingCapacity: true)
        }
    }

    /// Encodes the pages of a plain run anew, those of zeros as zero records; returns false if there are none.
    ///
    /// A record goes on naming its block exactly if it did before: the records before and after it, and so the block
    /// that they continue, stay the same.
    private mutating func convert(_ run: PageRun, byteCount: Int) throws -> Bool {
        var pages: [Bool] = []
        var zeroCount = 0
        for index in 0..<run.pageCount {
            let isZero = isZeroPage(input.unread.extracting(run.pageBytes(index)))
            pages.append(isZero)
            if isZero { zeroCount += 1 }
        }
        if zeroCount == 0 { return false }
        if !input.takenRange.isEmpty { try flush() }
        var header = [UInt8](repeating: 0, count: StreamEncoder.maximumPageHeaderByteCount)
        for index in 0..<run.pageCount {
            var page = run
            page.content = pages[index] ? .fill(0) : .plain
            var elements = header.mutableSpan
            var writer = StreamWriter(elements.mutableBytes)
            StreamEncoder.writeHeader(ofPage: index, of: page, blocks: decoder.blocks, into: &writer)
            made.append(contentsOf: header[..<writer.byteCount])
            if pages[index] {
                made.append(0)
            } else {
                let range = run.pageBytes(index)
                made.append(
                    contentsOf: input.storage[(input.start + range.lowerBound)..<(input.start + range.upperBound)])
            }
        }
        input.take(byteCount)
        input.dropTaken()
        report.convertedPageCount += zeroCount
        report.changedElementCount = encoder.changedElementCount
        return true
    }
}
