internal import CLinux
internal import Glibc

/// Files with holes: ranges that read as zero and take no space.
extension OwnedDescriptor {
    /// A new file without a name in `folder`; it goes away with the descriptor.
    public init(temporaryIn folder: String) throws(SystemError) {
        self.init(adopting: try check(clinux_open_temporary(folder), "open a temporary file in", folder))
    }

    /// Makes the file at `path` or empties it, for reading and writing.
    public init(creatingForReadingAndWriting path: String) throws(SystemError) {
        self.init(adopting: try check(clinux_open(path, O_RDWR | O_CREAT | O_TRUNC, 0o666), "open", path))
    }

    /// Makes `range` of the file read as zeros: a hole, or zeros written where the file system knows no holes.
    public func clear(_ range: Range<Int64>) throws(SystemError) {
        if range.isEmpty { return }
        do throws(SystemError) {
            try writeZeroes(at: range.lowerBound, byteCount: range.upperBound - range.lowerBound, mayUnmap: true)
        } catch {
            guard error.number == EOPNOTSUPP else { throw error }
            let zeros = [UInt8](repeating: 0, count: 1 << 16)
            var offset = range.lowerBound
            while offset < range.upperBound {
                let count = min(Int64(zeros.count), range.upperBound - offset)
                try write(all: zeros.span.bytes.extracting(0..<Int(count)), at: offset)
                offset += count
            }
        }
    }

    /// The first range from `offset` on that is no hole, nil if only holes follow.
    public func data(from offset: Int64) throws(SystemError) -> Range<Int64>? {
        let start = clinux_next_data(number, offset)
        if start == -Int64(ENXIO) { return nil }
        let first = try check(start, "lseek")
        return first..<(try check(clinux_next_hole(number, first), "lseek"))
    }

    /// Writes all of `bytes` at `offset` without moving the file position.
    public func write(all bytes: RawSpan, at offset: Int64) throws(SystemError) {
        var done = 0
        while done < bytes.byteCount {
            let count = bytes.withUnsafeBytes {
                clinux_pwrite(number, $0.baseAddress! + done, $0.count - done, offset + Int64(done))
            }
            done += try check(count, "pwrite")
        }
    }
}
