public import GuestMemory

/// The device's side of a split virtqueue: where its rings are and how far both sides have come.
///
/// Everything in the rings belongs to the driver, which may be hostile and may change it at any moment: each field is
/// copied once, then checked, then used. Indexes run freely over 16 bits; a place is the index modulo the size.
///
///     descriptor table  16 bytes each: address u64, length u32, flags u16, next u16
///     available ring    flags u16, index u16, place[size] u16, used_event u16
///     used ring         flags u16, index u16, place[size] {id u32, length u32}, avail_event u16
public struct Virtqueue: Sendable {
    /// More places than any queue has; also the bound for an indirect table, as in QEMU.
    public static let largestSize: UInt16 = 1024

    public let index: Int
    /// The size the device offers, a power of two.
    public let maximumSize: UInt16
    /// The driver's choice.
    public internal(set) var size: UInt16
    public internal(set) var isReady = false
    public internal(set) var descriptorTable = GuestAddress(0)
    public internal(set) var availableRing = GuestAddress(0)
    public internal(set) var usedRing = GuestAddress(0)
    /// The index of the next request to take: QEMU's last_avail_idx.
    public internal(set) var nextAvailable: UInt16 = 0
    /// The index of the next used element.
    public internal(set) var nextUsed: UInt16 = 0
    /// The used index when the driver was last interrupted, or when the queue began.
    private var interruptedAt: UInt16 = 0
    /// False after a load: the driver may or may not have been interrupted for the last elements.
    private var knowsLastInterrupt = true
    var usesEventIndex = false
    var notifiesWhenEmpty = false

    init(index: Int, maximumSize: UInt16) {
        precondition(maximumSize > 0 && maximumSize <= Self.largestSize && maximumSize.nonzeroBitCount == 1)
        self.index = index
        self.maximumSize = maximumSize
        size = maximumSize
    }

    /// Takes over the driver's rings and serves the queue from index 0 on.
    mutating func makeReady(
        size: UInt16, limit: UInt16? = nil, descriptorTable: GuestAddress, availableRing: GuestAddress,
        usedRing: GuestAddress, in memory: GuestAddressSpace
    ) throws(VirtioError) {
        let limit = limit ?? maximumSize
        guard size > 0, size <= limit, size.nonzeroBitCount == 1 else {
            throw .queueSize(queue: index, size: size, maximum: limit)
        }
        self.size = size
        self.descriptorTable = descriptorTable
        self.availableRing = availableRing
        self.usedRing = usedRing
        try checkRings(in: memory)
        nextAvailable = 0
        nextUsed = 0
        interruptedAt = 0
        knowsLastInterrupt = true
        isReady = true
    }

    /// Goes on with rings that a migration brought: `nextAvailable` from the stream, the used index from memory.
    ///
    /// They may be larger than this device offers: QEMU's virtio-mmio offers 1024 places whatever the device asks for,
    /// and Linux takes them all.
    mutating func load(
        nextAvailable: UInt16, size: UInt16, descriptorTable: GuestAddress, availableRing: GuestAddress,
        usedRing: GuestAddress, in memory: GuestAddressSpace
    ) throws(VirtioError) {
        try makeReady(
            size: size, limit: Self.largestSize, descriptorTable: descriptorTable, availableRing: availableRing,
            usedRing: usedRing, in: memory)
        self.nextAvailable = nextAvailable
        let available = try load16(availableRing, 2, memory)
        nextUsed = try load16(usedRing, 2, memory)
        interruptedAt = nextUsed
        knowsLastInterrupt = false
        guard available &- nextAvailable <= size, nextAvailable &- nextUsed <= size else {
            isReady = false
            throw .inconsistentIndexes(
                queue: index, available: available, nextAvailable: nextAvailable, used: nextUsed, size: size)
        }
    }

    /// Every ring is in memory, aligned as the specification says.
    private func checkRings(in memory: GuestAddressSpace) throws(VirtioError) {
        let rings: [(GuestAddress, Int, Int, Bool)] = [
            (descriptorTable, 16 * Int(size), 16, false),
            (availableRing, 6 + 2 * Int(size), 2, false),
            (usedRing, 6 + 8 * Int(size), 4, true),
        ]
        do throws(GuestMemoryError) {
            for (address, byteCount, alignment, forWriting) in rings {
                guard address.value % UInt64(alignment) == 0 else {
                    throw GuestMemoryError.misaligned(address: address, alignment: alignment)
                }
                _ = try memory.slice(at: address, byteCount: byteCount, forWriting: forWriting)
            }
        } catch { throw .memory(queue: index, error) }
    }

    /// Where its rings are, and how long; none before the driver has said so.
    var rings: [(address: GuestAddress, byteCount: Int)] {
        if !isReady { return [] }
        return [
            (availableRing, 6 + 2 * Int(size)), (usedRing, 6 + 8 * Int(size)), (descriptorTable, 16 * Int(size)),
        ]
    }

    // MARK: Requests

    /// The driver's next request, nil when there is none.
    mutating func take(from memory: GuestAddressSpace) throws(VirtioError) -> DescriptorChain? {
        guard isReady else { return nil }
        let available = try load16(availableRing, 2, memory)
        guard available != nextAvailable else { return nil }
        guard available &- nextAvailable <= size else {
            throw .availableIndex(queue: index, index: available, next: nextAvailable, size: size)
        }
        let place = UInt64(nextAvailable & (size - 1))
        let head = try read { () throws(GuestMemoryError) in
            try memory.readUInt16(at: GuestAddress(availableRing.value + 4 + 2 * place))
        }
        let chain = try chain(at: head, in: memory)
        nextAvailable &+= 1
        return chain
    }

    /// Takes back the last `take`: the request is the next one again.
    mutating func untake() { nextAvailable &-= 1 }

    /// Gives a request back with `byteCount` bytes written into it. The driver sees it at once, or with `publish`.
    mutating func give(
        head: UInt16, byteCount: Int, in memory: GuestAddressSpace, publishing: Bool = true
    ) throws(VirtioError) {
        let place = GuestAddress(usedRing.value + 4 + 8 * UInt64(nextUsed & (size - 1)))
        let element = UInt64(head) | UInt64(UInt32(clamping: byteCount)) << 32
        try read { () throws(GuestMemoryError) in try memory.write(element, at: place) }
        nextUsed &+= 1
        if publishing { try publish(in: memory) }
    }

    /// Lets the driver see everything given so far.
    func publish(in memory: GuestAddressSpace) throws(VirtioError) {
        try read { () throws(GuestMemoryError) in
            try memory.storeReleasing16(nextUsed, at: GuestAddress(usedRing.value + 2))
        }
    }

    // MARK: Notifications

    /// Asks the driver for a notification at its next request; whether one has come already.
    mutating func enableNotifications(in memory: GuestAddressSpace) throws(VirtioError) -> Bool {
        guard isReady else { return false }
        if usesEventIndex {
            try store16(nextAvailable, usedRing, 4 + 8 * UInt64(size), memory)
        } else {
            try store16(0, usedRing, 0, memory)
        }
        memory.fence()
        return try load16(availableRing, 2, memory) != nextAvailable
    }

    /// Tells the driver that its requests are looked for anyway. With event indexes the old one serves.
    func disableNotifications(in memory: GuestAddressSpace) throws(VirtioError) {
        guard isReady, !usesEventIndex else { return }
        try store16(1, usedRing, 0, memory)
    }

    /// Whether the driver wants to be interrupted for what was given since it last was.
    mutating func needsInterrupt(in memory: GuestAddressSpace) throws(VirtioError) -> Bool {
        guard isReady else { return false }
        let before = interruptedAt
        guard before != nextUsed else { return false }
        interruptedAt = nextUsed
        memory.fence()
        if notifiesWhenEmpty, nextAvailable == nextUsed, try load16(availableRing, 2, memory) == nextAvailable {
            return true
        }
        guard usesEventIndex else { return try load16(availableRing, 0, memory) & 1 == 0 }
        guard knowsLastInterrupt else {
            // One too many is harmless.
            knowsLastInterrupt = true
            return true
        }
        let event = try load16(availableRing, 4 + 2 * UInt64(size), memory)
        return nextUsed &- event &- 1 < nextUsed &- before
    }

    // MARK: Fields

    private func load16(_ ring: GuestAddress, _ offset: UInt64, _ memory: GuestAddressSpace) throws(VirtioError)
        -> UInt16
    {
        try read { () throws(GuestMemoryError) in try memory.loadAcquiring16(at: GuestAddress(ring.value + offset)) }
    }

    private func store16(
        _ value: UInt16, _ ring: GuestAddress, _ offset: UInt64, _ memory: GuestAddressSpace
    ) throws(VirtioError) {
        try read { () throws(GuestMemoryError) in
            try memory.storeReleasing16(value, at: GuestAddress(ring.value + offset))
        }
    }

    func read<Value>(_ body: () throws(GuestMemoryError) -> Value) throws(VirtioError) -> Value {
        do { return try body() } catch { throw .memory(queue: index, error) }
    }
}
