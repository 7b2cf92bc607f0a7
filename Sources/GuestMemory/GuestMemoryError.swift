/// Why an access to guest memory was refused.
public enum GuestMemoryError: Error, Equatable, CustomStringConvertible {
    /// Not all of the bytes are in one piece of memory that may be accessed so.
    case notMemory(address: GuestAddress, byteCount: Int)
    /// The bytes are memory the guest can only read.
    case readOnly(address: GuestAddress, byteCount: Int)
    /// A field that is accessed atomically does not lie at a multiple of its size.
    case misaligned(address: GuestAddress, alignment: Int)

    public var description: String {
        switch self {
        case .notMemory(let address, let byteCount): "The \(byteCount) bytes at \(address) are not all guest memory."
        case .readOnly(let address, let byteCount): "The \(byteCount) bytes at \(address) are read-only memory."
        case .misaligned(let address, let alignment): "\(address) is not a multiple of \(alignment)."
        }
    }
}
