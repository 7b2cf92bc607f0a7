/// Pages as changes to what they held before.
///
///     repeated  field
///               number of bytes that stay, ULEB128 of at most 2 bytes
///               number of bytes that change, ULEB128 of at most 2 bytes, not 0
///               that many new bytes (they are not XORed)
///
/// A run of bytes that stay at the end of the page is left out. See QEMU migration/xbzrle.c.
public enum XBZRLE {
    /// Writes into `update` what turns `old` into `new`, two pages of one size of at most 16 KiB.
    ///
    /// - Returns: The bytes written, 0 if the pages are equal; nil if `update` has too little room, which for a room
    ///   of a page's size means that the page is better sent as it is.
    @_lifetime(update: copy update)
    public static func encode(old: RawSpan, new: RawSpan, into update: inout MutableRawSpan) -> Int? {
        precondition(
            old.byteCount == new.byteCount && old.byteCount < 1 << 14, "\(old.byteCount) and \(new.byteCount) bytes")
        let end = new.byteCount
        let room = update.byteCount
        var position = 0
        var written = 0
        while true {
            let start = old.firstDifference(from: new, at: position, end: end)
            if start == end { return written }
            let stop = old.firstEquality(with: new, at: start, end: end)
            let count = stop - start
            let headerByteCount = (start - position < 128 ? 1 : 2) + (count < 128 ? 1 : 2)
            guard written + headerByteCount + count <= room else { return nil }
            written = update.storeLength(start - position, at: written)
            written = update.storeLength(count, at: written)
            update.copy(new.part(start..<stop), at: written)
            written += count
            position = stop
        }
    }

    /// Makes the changes of `update` to `page`.
    ///
    /// - Throws: `StreamError.invalidDelta` when `update` is not one for a page of this size. The page is then as it
    ///   was.
    @_lifetime(page: copy page)
    public static func apply(_ update: RawSpan, to page: inout MutableRawSpan) throws(StreamError) {
        try validate(update, pageByteCount: page.byteCount)
        var position = 0
        var offset = 0
        while offset < update.byteCount {
            let unchanged = try update.length(at: &offset)
            let changed = try update.length(at: &offset)
            position += unchanged
            page.copy(update.part(offset..<(offset + changed)), at: position)
            position += changed
            offset += changed
        }
    }

    /// Checks that `update` is one for a page of `pageByteCount` bytes.
    ///
    /// - Throws: `StreamError.invalidDelta` with the offset inside of `update`.
    public static func validate(_ update: RawSpan, pageByteCount: Int) throws(StreamError) {
        var position = 0
        var offset = 0
        while offset < update.byteCount {
            let start = offset
            let unchanged = try update.length(at: &offset)
            guard unchanged > 0 || start == 0 else {
                throw .invalidDelta(reason: "0 unchanged bytes between two changes", offset: start)
            }
            let changedOffset = offset
            let changed = try update.length(at: &offset)
            guard changed > 0 else { throw .invalidDelta(reason: "0 changed bytes", offset: changedOffset) }
            position += unchanged + changed
            guard position <= pageByteCount else {
                throw .invalidDelta(reason: "byte \(position - 1) of a page of \(pageByteCount)", offset: start)
            }
            guard changed <= update.byteCount - offset else {
                throw .invalidDelta(
                    reason: "\(changed) changed bytes, of which \(update.byteCount - offset) are there",
                    offset: changedOffset)
            }
            offset += changed
        }
    }
}

extension RawSpan {
    /// Reads a ULEB128 of at most two bytes and moves `offset` behind it.
    fileprivate func length(at offset: inout Int) throws(StreamError) -> Int {
        let start = offset
        guard start < byteCount else { throw .invalidDelta(reason: "it ends before a length", offset: start) }
        let low = Int(byte(at: start))
        offset += 1
        guard low & 0x80 != 0 else { return low }
        guard start + 1 < byteCount else { throw .invalidDelta(reason: "it ends in a length", offset: start) }
        let high = Int(byte(at: start + 1))
        offset += 1
        guard high & 0x80 == 0 else { throw .invalidDelta(reason: "a length of over 2 bytes", offset: start) }
        return high << 7 | low & 0x7f
    }

    /// The first offset from `start` on where this and `other` differ, `end` if none.
    fileprivate func firstDifference(from other: RawSpan, at start: Int, end: Int) -> Int {
        var offset = start
        while offset + 8 <= end {
            let difference = bigEndianUInt64(at: offset) ^ other.bigEndianUInt64(at: offset)
            if difference != 0 { return offset + difference.leadingZeroBitCount / 8 }
            offset += 8
        }
        while offset < end, byte(at: offset) == other.byte(at: offset) { offset += 1 }
        return offset
    }

    /// The first offset from `start` on where this and `other` are equal, `end` if none.
    fileprivate func firstEquality(with other: RawSpan, at start: Int, end: Int) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let tops: UInt64 = 0x8080_8080_8080_8080
        var offset = start
        while offset + 8 <= end {
            let difference = bigEndianUInt64(at: offset) ^ other.bigEndianUInt64(at: offset)
            // A byte of the difference that is zero sets its top bit here; so may bytes above it, never below.
            guard (difference &- ones) & ~difference & tops == 0 else { break }
            offset += 8
        }
        while offset < end, byte(at: offset) != other.byte(at: offset) { offset += 1 }
        return offset
    }
}

extension MutableRawSpan {
    /// Writes `value` as ULEB128 of one or two bytes and gives the offset behind it.
    @_lifetime(self: copy self)
    fileprivate mutating func storeLength(_ value: Int, at offset: Int) -> Int {
        guard value >= 0x80 else {
            store(UInt8(value), at: offset)
            return offset + 1
        }
        store(UInt8(value & 0x7f | 0x80), at: offset)
        store(UInt8(value >> 7), at: offset + 1)
        return offset + 2
    }
}
