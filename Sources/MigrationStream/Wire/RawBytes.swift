// The only unsafe loads and stores of this module outside the zero-page test and XBZRLE's copies.
//
// Everything here is checked: an offset that is not inside the span traps, as an array's subscript does. Callers check
// lengths from outside first and throw.

extension RawSpan {
    /// The byte at `offset`.
    @inline(__always)
    func byte(at offset: Int) -> UInt8 {
        // Safe: the load is bounds checked, and every bit pattern is a UInt8.
        unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self)
    }

    /// The big-endian 16-bit integer at `offset`, whatever its alignment.
    @inline(__always)
    func bigEndianUInt16(at offset: Int) -> UInt16 {
        // Safe: bounds checked, any alignment, every bit pattern is an integer.
        UInt16(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// The big-endian 32-bit integer at `offset`, whatever its alignment.
    @inline(__always)
    func bigEndianUInt32(at offset: Int) -> UInt32 {
        // Safe: as above.
        UInt32(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The big-endian 64-bit integer at `offset`, whatever its alignment.
    @inline(__always)
    func bigEndianUInt64(at offset: Int) -> UInt64 {
        // Safe: as above.
        UInt64(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// The bytes of `range` as a span that lives as long as this one.
    @inline(__always)
    @_lifetime(copy self)
    func part(_ range: Range<Int>) -> RawSpan { extracting(range) }

    /// A copy of the bytes of `range`.
    func copy(_ range: Range<Int>) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            // Safe: `extracting` checks the range, and the buffer has room for exactly its count.
            unsafe extracting(range).withUnsafeBytes { bytes in
                unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes)
            }
            count = range.count
        }
    }

    /// Whether the bytes from `offset` on begin with `other`.
    func hasBytes(_ other: [UInt8], at offset: Int) -> Bool {
        guard offset >= 0, byteCount - offset >= other.count else { return false }
        for index in other.indices where byte(at: offset + index) != other[index] { return false }
        return true
    }

    /// Whether all bytes of `range` are zero.
    func isZero(_ range: Range<Int>) -> Bool {
        for offset in range where byte(at: offset) != 0 { return false }
        return true
    }
}

extension MutableRawSpan {
    /// Stores `value` at `offset`, whatever its alignment.
    @inline(__always)
    @_lifetime(self: copy self)
    mutating func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, at offset: Int) {
        storeBytes(of: value, toByteOffset: offset, as: Value.self)
    }

    /// Copies all of `source` to `offset`; traps when there is no room for it.
    @inline(__always)
    @_lifetime(self: copy self)
    mutating func copy(_ source: RawSpan, at offset: Int) {
        precondition(
            offset >= 0 && source.byteCount <= byteCount - offset,
            "\(source.byteCount) bytes at \(offset) of a span of \(byteCount)")
        // Safe: the precondition above, and both spans are valid while they are borrowed here.
        unsafe withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { bytes in
                let part = unsafe UnsafeMutableRawBufferPointer(rebasing: target[offset..<(offset + bytes.count)])
                unsafe part.copyMemory(from: bytes)
            }
        }
    }
}
