/// Writes big-endian fields into bytes that the caller owns.
///
/// The caller provides enough room: each element knows its size before it is written. Running out of room is a
/// programmer's mistake and traps.
public struct StreamWriter: ~Copyable, ~Escapable {
    private var bytes: MutableRawSpan
    /// How many bytes have been written, which is where the next one goes.
    public private(set) var byteCount = 0

    /// Writes to the beginning of `bytes`.
    @_lifetime(copy bytes)
    public init(_ bytes: consuming MutableRawSpan) {
        self.bytes = bytes
    }

    /// How many bytes can still be written.
    public var remainingByteCount: Int { bytes.byteCount - byteCount }

    /// Writes one byte.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func write(_ value: UInt8) {
        bytes.store(value, at: byteCount)
        byteCount += 1
    }

    /// Writes a 16-bit integer, big-endian.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func write(_ value: UInt16) {
        bytes.store(value.bigEndian, at: byteCount)
        byteCount += 2
    }

    /// Writes a 32-bit integer, big-endian.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func write(_ value: UInt32) {
        bytes.store(value.bigEndian, at: byteCount)
        byteCount += 4
    }

    /// Writes a 64-bit integer, big-endian.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func write(_ value: UInt64) {
        bytes.store(value.bigEndian, at: byteCount)
        byteCount += 8
    }

    /// Writes `source` as it is.
    @inline(__always)
    @_lifetime(self: copy self)
    public mutating func write(_ source: RawSpan) {
        bytes.copy(source, at: byteCount)
        byteCount += source.byteCount
    }

    /// Writes `source` as it is.
    @_lifetime(self: copy self)
    public mutating func write(_ source: [UInt8]) {
        write(unsafe source.span.bytes)
    }

    /// Writes `count` zero bytes.
    @_lifetime(self: copy self)
    public mutating func writeZeros(_ count: Int) {
        for _ in 0..<count { write(0 as UInt8) }
    }

    /// Writes the UTF-8 of `text` without its length.
    @_lifetime(self: copy self)
    public mutating func writeText(_ text: String) {
        for byte in text.utf8 { write(byte) }
    }

    /// Writes one byte of length and the UTF-8 of `name`, which has at most 255 bytes.
    @_lifetime(self: copy self)
    public mutating func writeName(_ name: String) {
        precondition(name.utf8.count <= 255, "a name of \(name.utf8.count) bytes")
        write(UInt8(name.utf8.count))
        writeText(name)
    }
}
