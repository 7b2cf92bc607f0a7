public import GuestMemory

/// The queues of one device, as `VirtioDevice.serve` gets them: requests are taken, given back, announced.
public struct VirtioQueues: Sendable {
    public internal(set) var queues: [Virtqueue]
    public let memory: GuestAddressSpace
    /// What the driver accepted.
    public internal(set) var features: UInt64 = 0
    /// Whether the host descriptor is waited for. A device clears it when it cannot take what comes, and sets it again
    /// when it can.
    public var waitsForHost = true
    private let interrupt: VirtioInterrupt
    private let stopRequests: StopRequests

    init(sizes: [UInt16], memory: GuestAddressSpace, interrupt: VirtioInterrupt, stopRequests: StopRequests) {
        queues = sizes.enumerated().map { Virtqueue(index: $0.offset, maximumSize: $0.element) }
        self.memory = memory
        self.interrupt = interrupt
        self.stopRequests = stopRequests
    }

    /// Whether someone waits for the device to become quiet. `take` then finds nothing; what is left stays in the rings.
    public var isStopRequested: Bool { stopRequests.arePending }

    /// Whether the driver accepted every bit of `feature`.
    public func hasFeature(_ feature: UInt64) -> Bool { features & feature == feature }

    /// The next request of a queue, nil when there is none; the driver will then notify the next one.
    public mutating func take(from queue: Int) throws(VirtioError) -> DescriptorChain? {
        while !isStopRequested {
            if let chain = try queues[queue].take(from: memory) { return chain }
            if try !queues[queue].enableNotifications(in: memory) { return nil }
        }
        return nil
    }

    /// A request that was taken before a migration and never given back, by the number of its first descriptor.
    public func unfinished(_ head: UInt32, of queue: Int) throws(VirtioError) -> DescriptorChain {
        guard let head = UInt16(exactly: head) else {
            throw .descriptorIndex(queue: queue, index: head, tableSize: UInt32(queues[queue].size))
        }
        return try queues[queue].chain(at: head, in: memory)
    }

    /// Puts the request taken last back to where it was.
    public mutating func untake(from queue: Int) { queues[queue].untake() }

    /// Whether the driver has put a request into a queue that is not taken yet.
    public mutating func isEmpty(_ queue: Int) throws(VirtioError) -> Bool {
        try !queues[queue].enableNotifications(in: memory)
    }

    /// Tells the driver that notifications of a queue are of no use while it is being served.
    public mutating func disableNotifications(of queue: Int) throws(VirtioError) {
        try queues[queue].disableNotifications(in: memory)
    }

    /// Gives a request back; `byteCount` bytes were written into its writable buffers.
    public mutating func give(
        _ chain: DescriptorChain, byteCount: Int, publishing: Bool = true
    ) throws(VirtioError) {
        try queues[chain.queue].give(head: chain.head, byteCount: byteCount, in: memory, publishing: publishing)
    }

    /// Lets the driver see requests that were given back without publishing.
    public mutating func publish(_ queue: Int) throws(VirtioError) { try queues[queue].publish(in: memory) }

    /// Interrupts the driver if it wants that for what was given back.
    public mutating func interruptDriver(for queue: Int) throws(VirtioError) {
        if try queues[queue].needsInterrupt(in: memory) { interrupt.raise(.queue) }
    }
}
