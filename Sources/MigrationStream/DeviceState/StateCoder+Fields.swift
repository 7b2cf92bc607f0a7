extension StateCoder {
    public mutating func field(_ name: String, _ value: inout UInt8) throws(StateError) {
        try integer(name, "uint8", &value)
    }

    public mutating func field(_ name: String, _ value: inout UInt16) throws(StateError) {
        try integer(name, "uint16", &value)
    }

    public mutating func field(_ name: String, _ value: inout UInt32) throws(StateError) {
        try integer(name, "uint32", &value)
    }

    public mutating func field(_ name: String, _ value: inout UInt64) throws(StateError) {
        try integer(name, "uint64", &value)
    }

    public mutating func field(_ name: String, _ value: inout Int8) throws(StateError) {
        try integer(name, "int8", &value)
    }

    public mutating func field(_ name: String, _ value: inout Int32) throws(StateError) {
        try integer(name, "int32", &value)
    }

    public mutating func field(_ name: String, _ value: inout Int64) throws(StateError) {
        try integer(name, "int64", &value)
    }

    /// One byte that is 0 or 1; loading another is an error.
    public mutating func field(_ name: String, _ value: inout Bool) throws(StateError) {
        let start = offset
        let byte = try word(value ? 1 as UInt8 : 0, name: name)
        guard byte <= 1 else { throw .notBoolean(field: fieldPath(name), found: byte, offset: start) }
        value = byte == 1
        record(name, type: "bool", byteCount: 1, .boolean(byte == 1))
    }

    /// An array of `count` elements; the loaded one has that length, and one to be saved must.
    public mutating func field(_ name: String, _ values: inout [UInt8], count: Int) throws(StateError) {
        try integers(name, "uint8", &values, count: count)
    }

    public mutating func field(_ name: String, _ values: inout [UInt16], count: Int) throws(StateError) {
        try integers(name, "uint16", &values, count: count)
    }

    public mutating func field(_ name: String, _ values: inout [UInt32], count: Int) throws(StateError) {
        try integers(name, "uint32", &values, count: count)
    }

    public mutating func field(_ name: String, _ values: inout [UInt64], count: Int) throws(StateError) {
        try integers(name, "uint64", &values, count: count)
    }

    /// A timer: nanoseconds of its clock at which it expires, all ones on the wire if it is not pending.
    public mutating func timer(_ name: String, _ expiry: inout UInt64?) throws(StateError) {
        let value = try word(expiry ?? UInt64.max, name: name)
        expiry = value == UInt64.max ? nil : value
        record(name, type: "timer", byteCount: 8, .timer(value == UInt64.max ? nil : value))
    }

    /// Bytes as they are.
    ///
    /// - Parameter type: QEMU's word, for buffers that it calls otherwise.
    public mutating func buffer(_ name: String, _ contents: inout [UInt8], count: Int, type: String = "buffer")
        throws(StateError)
    {
        switch direction {
        case .load:
            try need(count, for: name)
            contents = unsafe Array(self.contents(offset..<(offset + count)))
        case .save:
            precondition(contents.count == count, "\(fieldPath(name)) has \(contents.count) bytes instead of \(count)")
            append(contents)
        case .measure: break
        }
        offset += count
        record(name, type: type, byteCount: count, .bytes(contents))
    }

    /// Bytes that no longer mean anything: saved as zeros, skipped when loading.
    public mutating func unused(_ name: String = "unused", count: Int, type: String = "unused_buffer")
        throws(StateError)
    {
        var zeros: [UInt8] = []
        if direction != .load { zeros = [UInt8](repeating: 0, count: count) }
        try buffer(name, &zeros, count: count, type: type)
    }

    /// A number that both sides must have alike, because what follows depends on it.
    public mutating func equal(_ name: String, _ value: UInt16) throws(StateError) {
        let start = offset
        let found = try word(value, name: name)
        guard found == value else {
            throw .unequal(field: fieldPath(name), expected: UInt64(value), found: UInt64(found), offset: start)
        }
        record(name, type: "uint16 equal", byteCount: 2, .unsigned(UInt64(found)))
    }

    /// Refuses a count or length from the stream that is beyond `limit`; call it right after the field.
    public func check(_ name: String, _ value: UInt64, atMost limit: UInt64) throws(StateError) {
        guard value <= limit else {
            throw .limitExceeded(field: fieldPath(name), found: value, limit: limit, offset: offset)
        }
    }

    @inline(__always)
    private mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(
        _ name: String, _ type: String, _ value: inout Value
    ) throws(StateError) {
        value = try word(value, name: name)
        record(name, type: type, byteCount: Value.bitWidth / 8, stateValue(value))
    }

    private mutating func integers<Value: FixedWidthInteger & BitwiseCopyable>(
        _ name: String, _ type: String, _ values: inout [Value], count: Int
    ) throws(StateError) {
        let width = Value.bitWidth / 8
        if direction == .load {
            guard count <= remaining / width else {
                let (needed, overflows) = count.multipliedReportingOverflow(by: width)
                throw .truncated(
                    field: fieldPath(name), offset: offset, missing: overflows ? Int.max : needed - remaining)
            }
            values = [Value](repeating: 0, count: count)
        }
        precondition(values.count == count, "\(fieldPath(name)) has \(values.count) elements instead of \(count)")
        for index in values.indices { values[index] = try word(values[index], name: name) }
        // QEMU describes an array of one element like a single field, and one of none not at all.
        guard let first = values.first else { return }
        let copy = values
        record(
            name, type: type, byteCount: width, elementCount: count > 1 ? count : nil,
            count > 1 ? .array(copy.map(stateValue)) : stateValue(first))
    }
}

private func stateValue<Value: FixedWidthInteger>(_ value: Value) -> StateValue {
    Value.isSigned ? .signed(Int64(truncatingIfNeeded: value)) : .unsigned(UInt64(truncatingIfNeeded: value))
}
