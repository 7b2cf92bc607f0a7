internal import GuestMemory
internal import LinuxSystem

/// A file whose parts are read as they are needed: a kernel, an initial RAM disk.
///
/// Every offset and length in it is from outside; what lies past its end is an error that names it.
struct ImageFile {
    let name: String
    let byteCount: UInt64
    private let source: Source

    private enum Source {
        case file(Opened)
        case bytes([UInt8])
    }

    private final class Opened: Sendable {
        let descriptor: OwnedDescriptor
        init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    }

    /// Opens a regular file.
    init(path: String) throws {
        let opened = Opened(try OwnedDescriptor(opening: path, for: .reading))
        guard let size = opened.descriptor.regularFileSize else {
            throw SystemError(call: "open image", subject: path, number: SystemError.invalidArgument)
        }
        name = path
        byteCount = UInt64(size)
        source = .file(opened)
    }

    /// An image in memory, called `name` in errors.
    init(name: String, bytes: [UInt8]) {
        self.name = name
        byteCount = UInt64(bytes.count)
        source = .bytes(bytes)
    }

    /// Copies bytes out.
    func bytes(_ what: String, at offset: UInt64, count: UInt64) throws -> [UInt8] {
        try check(what, offset, count)
        switch source {
        case .bytes(let bytes): return Array(bytes[Int(offset)..<Int(offset + count)])
        case .file(let opened):
            var bytes = [UInt8](repeating: 0, count: Int(count))
            try bytes.withUnsafeMutableBytes { try fill($0, what, opened, offset) }
            return bytes
        }
    }

    /// Copies bytes into guest memory.
    func load(_ what: String, at offset: UInt64, into slice: GuestMemorySlice) throws {
        try check(what, offset, UInt64(slice.byteCount))
        switch source {
        case .bytes(let bytes):
            bytes.withUnsafeBytes { all in
                slice.bytes.copyMemory(from: .init(rebasing: all[Int(offset)..<Int(offset) + slice.byteCount]))
            }
        case .file(let opened): try fill(slice.bytes, what, opened, offset)
        }
        slice.markDirty()
    }

    private func check(_ what: String, _ offset: UInt64, _ count: UInt64) throws {
        guard offset <= byteCount, count <= byteCount - offset else {
            throw BootError.truncated(
                file: name, what: what, offset: offset, byteCount: count, fileByteCount: byteCount)
        }
    }

    private func fill(
        _ buffer: UnsafeMutableRawBufferPointer, _ what: String, _ opened: Opened, _ offset: UInt64
    ) throws {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = try opened.descriptor.read(into: rest, at: Int64(offset) + Int64(done))
            // The file became shorter while it was read.
            guard count > 0 else {
                throw BootError.truncated(
                    file: name, what: what, offset: offset, byteCount: UInt64(buffer.count),
                    fileByteCount: offset + UInt64(done))
            }
            done += count
        }
    }
}

/// Little-endian fields of an image.
extension [UInt8] {
    func field<Value: FixedWidthInteger & UnsignedInteger>(_ type: Value.Type, at offset: Int) -> Value {
        (0..<Value.bitWidth / 8).reduce(0) { $0 | Value(truncatingIfNeeded: self[offset + $1]) << Value($1 * 8) }
    }

    mutating func setField<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for index in 0..<Value.bitWidth / 8 {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> Value(index * 8))
        }
    }

    mutating func appendField<Value: FixedWidthInteger>(_ value: Value) {
        for index in 0..<Value.bitWidth / 8 { append(UInt8(truncatingIfNeeded: value >> Value(index * 8))) }
    }
}
