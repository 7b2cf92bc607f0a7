/// Why a kernel cannot be started.
public enum BootError: Error, Equatable, CustomStringConvertible {
    /// The file is no kernel of a kind that is known.
    case notAKernel(file: String, found: String)
    /// The file ends before something it speaks of.
    case truncated(file: String, what: String, offset: UInt64, byteCount: UInt64, fileByteCount: UInt64)
    /// A kernel too old or built without what is needed.
    case unsupported(file: String, String)
    /// A field of the image has a value no image has.
    case invalid(file: String, field: String, value: UInt64)
    /// Something does not fit the guest's memory below 4 GiB.
    case noRoom(what: String, address: UInt64, byteCount: UInt64, limit: UInt64)
    case commandLineTooLong(byteCount: Int, limit: Int)

    public var description: String {
        switch self {
        case .notAKernel(let file, let found): "\(file) is no Linux bzImage and no ELF kernel: it begins with \(found)."
        case .truncated(let file, let what, let offset, let byteCount, let fileByteCount):
            "\(file) is cut short: its \(what) is \(byteCount) bytes at \(offset), and the file has \(fileByteCount)."
        case .unsupported(let file, let reason): "\(file) cannot be started: \(reason)."
        case .invalid(let file, let field, let value): "\(file) is damaged: its \(field) is 0x\(hex(value))."
        case .noRoom(let what, let address, let byteCount, let limit):
            "The guest's memory is too small: \(what) needs \(byteCount) bytes at 0x\(hex(address)), up to 0x\(hex(limit))."
        case .commandLineTooLong(let byteCount, let limit):
            "The kernel command line has \(byteCount) bytes; this kernel takes \(limit)."
        }
    }
}
