public import GuestMemory
public import LinuxSystem

/// A disk image without format: the bytes of a file or block device, through the host's page cache.
public final class RawDisk: DiskBackend {
    public let byteCount: Int64
    public let isReadOnly: Bool
    /// For locks and questions about the file; bytes go through the functions here.
    public let descriptor: OwnedDescriptor
    public let path: String
    /// Whether the image is a block device, not a file.
    public let isBlockDevice: Bool

    /// Opens the image at `path`; a file's bytes past the last whole sector do not count.
    ///
    /// - Throws: `SystemError` if it cannot be opened so, EINVAL if it is neither a file nor a block device.
    public init(path: String, isReadOnly: Bool = false) throws(SystemError) {
        let descriptor = try OwnedDescriptor(opening: path, for: isReadOnly ? .reading : .readingAndWriting)
        guard let size = descriptor.regularFileSize ?? descriptor.blockDeviceSize else {
            throw SystemError(call: "open disk", subject: path, number: SystemError.invalidArgument)
        }
        isBlockDevice = descriptor.regularFileSize == nil
        byteCount = size & ~511
        self.isReadOnly = isReadOnly
        self.descriptor = descriptor
        self.path = path
    }

    public func read(into slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        try transfer("read disk", slices) { (rest, done) throws(SystemError) in
            try descriptor.read(into: rest.map(\.bytes), at: offset + Int64(done))
        }
    }

    public func write(_ slices: [GuestMemorySlice], at offset: Int64) throws(SystemError) {
        try transfer("write disk", slices) { (rest, done) throws(SystemError) in
            try descriptor.write(rest.map(\.bytes), at: offset + Int64(done))
        }
    }

    public func flush() throws(SystemError) { try descriptor.synchronizeData() }

    public func discard(at offset: Int64, byteCount: Int64) throws(SystemError) {
        do { try descriptor.discard(at: offset, byteCount: byteCount) } catch  where error.isUnsupported {
            // A discard is a hint: storage that cannot give space up keeps the bytes.
        }
    }

    public func writeZeroes(at offset: Int64, byteCount: Int64, mayUnmap: Bool) throws(SystemError) {
        do { try descriptor.writeZeroes(at: offset, byteCount: byteCount, mayUnmap: mayUnmap) } catch
            where error.isUnsupported
        {
            try writeZeroBytes(at: offset, byteCount: byteCount)
        }
    }

    private func writeZeroBytes(at offset: Int64, byteCount: Int64) throws(SystemError) {
        let zeros = [UInt8](repeating: 0, count: Int(min(byteCount, 1 << 20)))
        var done: Int64 = 0
        while done < byteCount {
            let count = Int(min(byteCount - done, Int64(zeros.count)))
            let at = offset + done
            var failure: SystemError?
            zeros.withUnsafeBytes { bytes in
                do throws(SystemError) {
                    try descriptor.write(all: UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: at)
                } catch { failure = error }
            }
            if let failure { throw failure }
            done += Int64(count)
        }
    }

    /// Calls `step` with what is left until nothing is; the kernel may do less than it is asked.
    private func transfer(
        _ call: String, _ slices: [GuestMemorySlice],
        _ step: ([GuestMemorySlice], _ done: Int) throws(SystemError) -> Int
    ) throws(SystemError) {
        var rest = slices[...]
        var done = 0
        while let first = rest.first {
            var count = try step(Array(rest.prefix(1024)), done)
            guard count > 0 else {
                // The file has become shorter than the disk; a write that does nothing is told as well.
                throw SystemError(call: call, subject: path, number: SystemError.inputOutput)
            }
            done += count
            if count < first.byteCount {
                rest[rest.startIndex] = first.part(from: count)
                continue
            }
            while let next = rest.first, count >= next.byteCount {
                count -= next.byteCount
                rest.removeFirst()
            }
            if count > 0, let next = rest.first { rest[rest.startIndex] = next.part(from: count) }
        }
    }
}
