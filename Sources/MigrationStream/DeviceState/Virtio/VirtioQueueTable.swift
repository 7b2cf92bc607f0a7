/// The 1024 slots for queues that a device has, of which memory holds those up to the last that was set.
///
/// QEMU sends all slots of a modern device, and nearly all are empty.
public struct VirtioQueueTable: RandomAccessCollection, MutableCollection, Equatable, Sendable {
    /// The slots that memory holds; all others are empty.
    private(set) var used: [VirtioQueueState] = []

    public init() {}

    public var startIndex: Int { 0 }
    public var endIndex: Int { VirtioState.queueLimit }

    public subscript(index: Int) -> VirtioQueueState {
        get {
            precondition(indices.contains(index), "Queue \(index) of \(count)")
            return index < used.count ? used[index] : VirtioQueueState()
        }
        set {
            precondition(indices.contains(index), "Queue \(index) of \(count)")
            if index >= used.count {
                if newValue == VirtioQueueState() { return }
                used.append(contentsOf: repeatElement(VirtioQueueState(), count: index + 1 - used.count))
            }
            used[index] = newValue
        }
    }

    public static func == (left: Self, right: Self) -> Bool {
        let common = Swift.min(left.used.count, right.used.count)
        let empty = VirtioQueueState()
        return left.used[..<common] == right.used[..<common] && left.used[common...].allSatisfy { $0 == empty }
            && right.used[common...].allSatisfy { $0 == empty }
    }

    /// Whether the size of any queue is not the one that the device proposes.
    var hasOtherSizes: Bool { used.contains { $0.size != $0.proposedSize } }
}
