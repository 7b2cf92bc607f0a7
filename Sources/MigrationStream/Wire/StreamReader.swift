/// A cursor over borrowed bytes that reads big-endian fields and knows where in the stream they lie.
///
/// It never reads past the end: what is missing is thrown as `StreamError.truncated`, with the absolute offset at
/// which the missing field begins and the number of bytes that are not there.
public struct StreamReader: ~Escapable {
    /// All the bytes, from `baseOffset` on.
    @usableFromInline let bytes: RawSpan
    /// The absolute offset in the stream of the first of `bytes`.
    public let baseOffset: Int
    /// How many of the bytes have been read.
    public private(set) var position: Int

    /// Reads `bytes`, the first of which is at `baseOffset` in the stream, from `position` on.
    @_lifetime(copy bytes)
    public init(_ bytes: RawSpan, baseOffset: Int = 0, position: Int = 0) {
        precondition(position >= 0 && position <= bytes.byteCount, "position \(position) of \(bytes.byteCount)")
        self.bytes = bytes
        self.baseOffset = baseOffset
        self.position = position
    }

    /// The absolute offset of the next byte.
    public var offset: Int { baseOffset + position }

    /// The number of bytes not read yet.
    public var remainingByteCount: Int { bytes.byteCount - position }

    /// Checks that `count` more bytes are there; `part` says what they are for.
    @inline(__always)
    public func require(_ count: Int, _ part: @autoclosure () -> String) throws(StreamError) {
        guard count <= remainingByteCount else {
            throw .truncated(part: part(), offset: offset, missing: count - remainingByteCount)
        }
    }

    /// Reads one byte.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func readUInt8(_ part: @autoclosure () -> String) throws(StreamError) -> UInt8 {
        try require(1, part())
        position += 1
        return bytes.byte(at: position - 1)
    }

    /// Reads a big-endian 16-bit integer.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func readUInt16(_ part: @autoclosure () -> String) throws(StreamError) -> UInt16 {
        try require(2, part())
        position += 2
        return bytes.bigEndianUInt16(at: position - 2)
    }

    /// Reads a big-endian 32-bit integer.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func readUInt32(_ part: @autoclosure () -> String) throws(StreamError) -> UInt32 {
        try require(4, part())
        position += 4
        return bytes.bigEndianUInt32(at: position - 4)
    }

    /// Reads a big-endian 64-bit integer.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func readUInt64(_ part: @autoclosure () -> String) throws(StreamError) -> UInt64 {
        try require(8, part())
        position += 8
        return bytes.bigEndianUInt64(at: position - 8)
    }

    /// Reads `count` bytes and gives their range in the bytes that this reader was made with.
    @_lifetime(self: copy self)
    public mutating func readRange(_ count: Int, _ part: @autoclosure () -> String) throws(StreamError) -> Range<Int> {
        try require(count, part())
        position += count
        return (position - count)..<position
    }

    /// Passes over `count` bytes, which are there.
    @_lifetime(self: copy self)
    mutating func skip(_ count: Int) {
        precondition(count >= 0 && count <= remainingByteCount, "\(count) of \(remainingByteCount) bytes")
        position += count
    }

    /// Reads `count` bytes into an array of their own.
    @_lifetime(self: copy self)
    public mutating func readBytes(_ count: Int, _ part: @autoclosure () -> String) throws(StreamError) -> [UInt8] {
        bytes.copy(try readRange(count, part()))
    }

    /// Reads a name: one byte of length, then that many bytes of printable ASCII, at least one.
    @_lifetime(self: copy self)
    public mutating func readName(_ field: String) throws(StreamError) -> String {
        let length = Int(try readUInt8(field))
        return try readText(length, field)
    }

    /// Reads `count` bytes of printable ASCII, at least one.
    @_lifetime(self: copy self)
    public mutating func readText(_ count: Int, _ field: String) throws(StreamError) -> String {
        let range = try readRange(count, field)
        try bytes.checkName(range, field: field, baseOffset: baseOffset)
        return String(decoding: bytes.copy(range), as: UTF8.self)
    }

    /// Reads one byte that must be `expected`.
    @_lifetime(self: copy self)
    public mutating func expectUInt8(_ expected: UInt8, _ field: String) throws(StreamError) {
        let found = try readUInt8(field)
        guard found == expected else {
            throw .unexpectedValue(
                field: field, offset: offset - 1, expected: UInt64(expected), found: UInt64(found))
        }
    }

    /// Reads a 32-bit integer that must be `expected`.
    @_lifetime(self: copy self)
    public mutating func expectUInt32(_ expected: UInt32, _ field: String) throws(StreamError) {
        let found = try readUInt32(field)
        guard found == expected else {
            throw .unexpectedValue(
                field: field, offset: offset - 4, expected: UInt64(expected), found: UInt64(found))
        }
    }

    /// Reads a 64-bit integer that must be `expected`.
    @_lifetime(self: copy self)
    public mutating func expectUInt64(_ expected: UInt64, _ field: String) throws(StreamError) {
        let found = try readUInt64(field)
        guard found == expected else {
            throw .unexpectedValue(field: field, offset: offset - 8, expected: expected, found: found)
        }
    }
}

extension RawSpan {
    /// Checks that the bytes of `range` can be a name: not empty, printable ASCII only.
    ///
    /// QEMU's names are made of letters, digits and punctuation. Names with other bytes are refused: a `String` of
    /// them would not compare byte for byte, nor be written again as it was read.
    func checkName(_ range: Range<Int>, field: String, baseOffset: Int) throws(StreamError) {
        guard !range.isEmpty else {
            throw .invalidName(field: field, offset: baseOffset + range.lowerBound, found: nil)
        }
        for offset in range where !(0x20...0x7e).contains(byte(at: offset)) {
            throw .invalidName(field: field, offset: baseOffset + offset, found: byte(at: offset))
        }
    }
}
