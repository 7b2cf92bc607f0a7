/// A message of the destination to the source.
///
///     size  field
///        2  type
///        2  payload length
///        n  payload
///
/// Big-endian. See QEMU migration/migration.c, source_return_path_thread.
public enum ReturnPathMessage: Equatable, Sendable {
    /// The last message. 0: the guest was loaded; anything else: it was not.
    case shut(UInt32)
    /// The answer to a PING.
    case pong(UInt32)
    /// The destination needs these pages now.
    case pageRequest(PageRequest)
    /// Which pages of a block have been received, the answer to `StreamCommand.receivedBitmap`.
    ///
    /// `bitmap` lies in the span given to the decoder: one bit for each page, least significant bit first.
    case receivedBitmap(block: String, bitmap: Range<Int>)
    /// The destination is ready to go on after a recovery; the value is 1.
    case resumeAcknowledged(UInt32)
    /// The destination agrees to the switchover (QEMU since 8.1).
    case switchoverAcknowledged
    /// Why the guest was not loaded, as a sentence; before `shut`, from Apus to Apus only: see `PeerGreeting`.
    case refusal(String)
    /// How long the destination took to let the guest run, and then to announce it; behind `shut`, from Apus to Apus only.
    case arrival(resumeNanoseconds: UInt64, announceNanoseconds: UInt64)

    /// Bytes of a refusal's text, at most.
    public static let maximumRefusalByteCount = 500

    /// What stands behind a received bitmap.
    public static let bitmapEndMark: UInt64 = 0x0123_4567_89ab_cdef

    /// The number on the wire.
    public var number: UInt16 {
        switch self {
        case .shut: 1
        case .pong: 2
        case .pageRequest(let request): request.block == nil ? 4 : 3
        case .receivedBitmap: 5
        case .resumeAcknowledged: 6
        case .switchoverAcknowledged: 7
        case .refusal: PeerGreeting.refusalMessage
        case .arrival: PeerGreeting.arrivalMessage
        }
    }

    /// The bytes of the payload, the length on the wire; a bitmap is not part of it.
    public var payloadByteCount: Int {
        switch self {
        case .shut, .pong, .resumeAcknowledged: 4
        case .pageRequest(let request): 12 + (request.block.map { 1 + $0.utf8.count } ?? 0)
        case .receivedBitmap(let block, _): 1 + block.utf8.count
        case .switchoverAcknowledged: 0
        case .refusal(let text): text.utf8.count
        case .arrival: 16
        }
    }

    /// All bytes of the message.
    public var byteCount: Int {
        switch self {
        case .receivedBitmap(_, let bitmap): 4 + payloadByteCount + 16 + bitmap.count
        default: 4 + payloadByteCount
        }
    }

    /// Writes the message. `source` holds the bitmap, if it has one.
    @_lifetime(writer: copy writer)
    public func write(source: RawSpan, into writer: inout StreamWriter) {
        writer.write(number)
        writer.write(UInt16(payloadByteCount))
        switch self {
        case .shut(let value), .pong(let value), .resumeAcknowledged(let value):
            writer.write(value)
        case .pageRequest(let request):
            writer.write(request.blockOffset)
            writer.write(request.byteCount)
            if let block = request.block { writer.writeName(block) }
        case .receivedBitmap(let block, let bitmap):
            writer.writeName(block)
            writer.write(UInt64(bitmap.count))
            writer.write(source.part(bitmap))
            writer.write(Self.bitmapEndMark)
        case .switchoverAcknowledged:
            break
        case .refusal(let text):
            writer.write(Array(text.utf8))
        case .arrival(let resume, let announce):
            writer.write(resume)
            writer.write(announce)
        }
    }
}

/// Pages that the destination needs now.
public struct PageRequest: Equatable, Sendable {
    /// The block; nil: the same as in the request before.
    public var block: String?
    /// Where the pages begin in the block, in bytes.
    public var blockOffset: UInt64
    /// How many bytes, a multiple of the host's page size.
    public var byteCount: UInt32

    public init(block: String?, blockOffset: UInt64, byteCount: UInt32) {
        self.block = block
        self.blockOffset = blockOffset
        self.byteCount = byteCount
    }
}
