internal import CLinux
internal import Glibc

/// A descriptor with one owner, closed when that owner goes away.
///
/// Blocking calls; one that was interrupted by a signal is made again.
public struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, valid while this value lives.
    public let number: Int32

    /// Takes over an open descriptor.
    public init(adopting number: Int32) { self.number = number }

    deinit { _ = clinux_close(number) }

    /// Gives the number away; the caller closes it.
    public consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    /// A copy of a descriptor that somebody else owns, by its number.
    public init(duplicating number: Int32) throws(SystemError) {
        // The number is a person's word: one that is not open is their mistake, not ours.
        let copy = clinux_duplicate(number)
        if copy < 0 { throw SystemError(call: "dup", subject: "descriptor \(number)", number: -copy) }
        self.init(adopting: copy)
    }

    /// A second descriptor for the same open file.
    public func duplicate() throws(SystemError) -> OwnedDescriptor {
        OwnedDescriptor(adopting: try check(clinux_duplicate(number), "fcntl"))
    }

    /// Reads at most `buffer.count` bytes; 0 at the end.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        try check(clinux_read(number, buffer.baseAddress, buffer.count), "read")
    }

    /// Writes all of `bytes`.
    public func write(all bytes: UnsafeRawBufferPointer) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            done += try check(clinux_write(number, bytes.baseAddress! + done, bytes.count - done), "write")
        }
    }

    /// Writes all of `bytes`.
    public func write(all bytes: RawSpan) throws(SystemError) {
        var failure: SystemError?
        bytes.withUnsafeBytes { buffer in
            do { try write(all: buffer) } catch let error as SystemError { failure = error } catch {}
        }
        if let failure { throw failure }
    }

    /// Writes all of `bytes` at `offset` without moving the file position.
    public func write(all bytes: UnsafeRawBufferPointer, at offset: Int64) throws(SystemError) {
        var done = 0
        while done < bytes.count {
            done += try check(
                clinux_pwrite(number, bytes.baseAddress! + done, bytes.count - done, offset + Int64(done)), "pwrite")
        }
    }

    /// Reads at most `buffer.count` bytes at `offset`; 0 at the end.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(SystemError) -> Int {
        try check(clinux_pread(number, buffer.baseAddress, buffer.count, offset), "pread")
    }

    /// Sets the length of the file; new bytes read as zero and take no space.
    public func truncate(to length: Int64) throws(SystemError) {
        _ = try check(clinux_truncate(number, length), "ftruncate")
    }

    /// The size of a regular file, nil for anything that has none.
    public var regularFileSize: Int64? {
        var mode: UInt32 = 0
        var size: Int64 = 0
        guard clinux_status(number, &mode, &size) == 0, mode & S_IFMT == S_IFREG else { return nil }
        return size
    }

    /// Whether this is a terminal.
    public var isTerminal: Bool { clinux_is_terminal(number) == 1 }

    /// The width of the terminal, nil when it is none.
    public var terminalColumns: Int? {
        let columns = clinux_terminal_columns(number)
        return columns > 0 ? Int(columns) : nil
    }

    /// Asks for a pipe buffer of `byteCount`; a descriptor that is no pipe, or a limit, leaves it as it was.
    public func widenPipe(to byteCount: Int) { _ = clinux_set_pipe_size(number, Int32(byteCount)) }
}

extension OwnedDescriptor {
    /// How a file is opened.
    public enum Access: Sendable {
        case reading
        /// Makes the file or empties it.
        case replacing
        case readingAndWriting
    }

    /// Opens the file at `path`, close-on-exec.
    public init(opening path: String, for access: Access) throws(SystemError) {
        let flags =
            switch access {
            case .reading: O_RDONLY
            case .replacing: O_WRONLY | O_CREAT | O_TRUNC
            case .readingAndWriting: O_RDWR
            }
        self.init(adopting: try check(clinux_open(path, flags, 0o666), "open", path))
    }

    /// A pipe: what is written to `writing` is read from `reading`.
    public static func pipe() throws(SystemError) -> Pipe {
        var numbers: (Int32, Int32) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &numbers) { bytes in
            clinux_pipe(bytes.baseAddress!.assumingMemoryBound(to: Int32.self))
        }
        _ = try check(result, "pipe2")
        return Pipe(reading: OwnedDescriptor(adopting: numbers.0), writing: OwnedDescriptor(adopting: numbers.1))
    }
}

/// Both ends of a pipe.
public struct Pipe: ~Copyable, Sendable {
    public let reading: OwnedDescriptor
    public let writing: OwnedDescriptor

    init(reading: consuming OwnedDescriptor, writing: consuming OwnedDescriptor) {
        self.reading = reading
        self.writing = writing
    }
}
