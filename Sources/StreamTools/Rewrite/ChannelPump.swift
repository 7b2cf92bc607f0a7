import MigrationStream

/// Decodes one kind of channel and encodes it again.
protocol ChannelCodec: ~Copyable {
    /// What passed through so far.
    var report: RewriteReport { get }
    /// The bytes that replace an element, after `.replaced`.
    var replacement: [UInt8] { get }
    /// Decodes the next element of the unread bytes, and encodes it over them or into `replacement`.
    mutating func step(_ input: inout StreamInput) throws -> ChannelStep
}

/// What became of the unread bytes' beginning.
enum ChannelStep {
    /// An element of so many bytes was encoded in its place.
    case inPlace(Int)
    /// An element of so many bytes has to be replaced.
    case replaced(Int)
    /// At least so many more bytes are needed.
    case needsMore(Int)
    /// The channel is over.
    case finished
}

/// Moves a channel from an input to an output through a codec.
///
/// All that is decoded is written before more is waited for, so nothing is held back but an element that is not whole.
struct ChannelPump<Codec: ChannelCodec & ~Copyable>: ~Copyable {
    private(set) var codec: Codec
    private var input: StreamInput
    private let output: StreamOutput
    private var writtenByteCount = 0
    /// Bytes that go out after all that was taken from the input.
    private var made: [UInt8] = []

    init(_ codec: consuming Codec, from input: consuming StreamInput, to output: consuming StreamOutput) {
        self.codec = codec
        self.input = input
        self.output = output
    }

    /// What passed through so far.
    var report: RewriteReport {
        var report = codec.report
        report.readByteCount = input.byteCount
        report.writtenByteCount = writtenByteCount
        return report
    }

    /// Moves everything.
    ///
    /// - Throws: `StreamError` where the channel is damaged; all before it has been written.
    mutating func run() throws {
        while true {
            let step: ChannelStep
            do {
                step = try codec.step(&input)
            } catch {
                try flush()
                throw error
            }
            switch step {
            case .inPlace(let byteCount):
                if !made.isEmpty { try flush() }
                input.take(byteCount)
            case .replaced(let byteCount):
                if !input.takenRange.isEmpty { try flush() }
                input.take(byteCount)
                input.dropTaken()
                made.append(contentsOf: codec.replacement)
            case .needsMore(let byteCount):
                try flush()
                try input.fill(atLeast: byteCount)
            case .finished:
                try flush()
                return
            }
        }
    }

    /// Writes what was taken, then what was made. Only one of them holds anything.
    private mutating func flush() throws {
        let range = input.takenRange
        if !range.isEmpty {
            try output.write(input.storage.span.bytes.extracting(range))
            writtenByteCount += range.count
            input.dropTaken()
        }
        if !made.isEmpty {
            try output.write(made.span.bytes)
            writtenByteCount += made.count
            made.removeAll(keepingCapacity: true)
        }
    }
}
