public import GuestMemory

/// What a driver did that no driver may do; the device then needs a reset.
public enum VirtioError: Error, Equatable, CustomStringConvertible {
    /// A ring or a buffer is not in guest memory.
    case memory(queue: Int, GuestMemoryError)
    /// A queue was made ready with a size that is 0, no power of two, or above the device's.
    case queueSize(queue: Int, size: UInt16, maximum: UInt16)
    /// The driver claims more new buffers than the queue has places.
    case availableIndex(queue: Int, index: UInt16, next: UInt16, size: UInt16)
    /// A descriptor number past the end of its table.
    case descriptorIndex(queue: Int, index: UInt32, tableSize: UInt32)
    /// More descriptors in a chain than its tables have: a loop.
    case chainTooLong(queue: Int, head: UInt16, limit: Int)
    /// An indirect table that is empty, no multiple of 16 bytes, or larger than any driver may use.
    case indirectTable(queue: Int, byteCount: UInt32)
    /// An indirect table inside another, or one that goes on elsewhere.
    case nestedIndirect(queue: Int, head: UInt16)
    /// A device-readable buffer after a device-writable one.
    case readableAfterWritable(queue: Int, head: UInt16)
    /// A buffer of no bytes.
    case emptyBuffer(queue: Int, head: UInt16)
    /// A request that is not what the device's part of the specification says.
    case malformedRequest(queue: Int, head: UInt16, String)
    /// A queue index in a loaded state that the rings in memory contradict.
    case inconsistentIndexes(queue: Int, available: UInt16, nextAvailable: UInt16, used: UInt16, size: UInt16)

    public var description: String {
        switch self {
        case .memory(let queue, let error): "Queue \(queue): \(error)"
        case .queueSize(let queue, let size, let maximum):
            "Queue \(queue) was given \(size) places; it has a power of two up to \(maximum)."
        case .availableIndex(let queue, let index, let next, let size):
            "Queue \(queue) of \(size) places has available index \(index) after \(next)."
        case .descriptorIndex(let queue, let index, let tableSize):
            "Queue \(queue) names descriptor \(index) of a table of \(tableSize)."
        case .chainTooLong(let queue, let head, let limit):
            "The chain at descriptor \(head) of queue \(queue) is longer than \(limit)."
        case .indirectTable(let queue, let byteCount):
            "Queue \(queue) has an indirect table of \(byteCount) bytes."
        case .nestedIndirect(let queue, let head):
            "The chain at descriptor \(head) of queue \(queue) goes on inside or after an indirect table."
        case .readableAfterWritable(let queue, let head):
            "The chain at descriptor \(head) of queue \(queue) has a readable buffer after a writable one."
        case .emptyBuffer(let queue, let head):
            "The chain at descriptor \(head) of queue \(queue) has a buffer of no bytes."
        case .malformedRequest(let queue, let head, let reason):
            "The request at descriptor \(head) of queue \(queue) \(reason)."
        case .inconsistentIndexes(let queue, let available, let nextAvailable, let used, let size):
            """
            Queue \(queue) of \(size) places has available index \(available) after \(nextAvailable) \
            and used index \(used).
            """
        }
    }
}
