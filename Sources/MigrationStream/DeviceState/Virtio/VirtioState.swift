/// What all virtio devices behind a virtio-mmio transport have in common.
///
/// The section's payload is: the transport's registers, status, features, the configuration space, the queues in use,
/// the device's own part, subsections. QEMU's description says nothing of it but the length, so names are QEMU's
/// where it has them.
///
/// offset  size  field
///      0    12  transport: host_features_sel, guest_features_sel, guest_page_shift
///     12     1  device status
///     13     1  interrupt status
///     14     2  selected queue
///     16     4  guest features, low half
///     20     4  length n of the configuration space
///     24     n  configuration space, guest-endian
///   24+n     4  queues in use
///   28+n    18  each: size (4), alignment (4), descriptor table (8), next available index (2)
/// See QEMU hw/virtio/virtio.c, virtio_save, and hw/virtio/virtio-mmio.c.
public struct VirtioState: Equatable, Sendable {
    /// Queues that a device can have; a stream with subsections of the modern transport lists them all.
    public static let queueLimit = 1024
    /// Bytes of a configuration space. The largest device has some hundred.
    public static let configurationLimit = 4096

    public var hostFeaturesSelect: UInt32 = 0
    public var guestFeaturesSelect: UInt32 = 0
    /// Legacy transport: the guest's page size as a power of two.
    public var guestPageShift: UInt32 = 0
    public var status: UInt8 = 0
    public var interruptStatus: UInt8 = 0
    public var selectedQueue: UInt16 = 0
    /// The features that the driver has accepted.
    public var guestFeatures: UInt64 = 0
    /// The configuration space as the device last computed it, in the guest's byte order.
    public var configuration: [UInt8] = []
    /// All slots. Those before the first of size 0 are in use.
    public var queues = VirtioQueueTable()
    public var isBroken = false
    public var isStarted = false
    public var isDisabled = false
    /// 1 little, 2 big; nil for the target's own order, which x86 always has.
    public var deviceEndian: UInt8?
    /// Which of the optional parts are sent.
    public var parts: Parts = []
    /// Modern transport: the features as the driver wrote them, low half first.
    public var writtenFeatures: [2 of UInt32] = [0, 0]

    /// Parts whose presence depends on what the device offers, which the stream does not say.
    public struct Parts: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }

        /// The device offers a feature beyond bit 31.
        public static let highFeatures = Parts(rawValue: 1)
        /// The device offers VIRTIO_F_VERSION_1.
        public static let ringAddresses = Parts(rawValue: 2)
        /// The transport is modern: `virtio-mmio.force-legacy=false`.
        public static let modernTransport = Parts(rawValue: 4)
        /// The driver has accepted packed rings.
        public static let packedRings = Parts(rawValue: 8)

        /// What QEMU sends for a device behind the modern transport.
        public static let modern: Parts = [.highFeatures, .ringAddresses, .modernTransport]
        /// What QEMU sends for a device behind the legacy transport.
        public static let legacy: Parts = [.highFeatures]
    }

    public init() {}

    /// The slots before the first of size 0.
    public var queueCount: Int { queues.firstIndex { $0.size == 0 } ?? queues.count }

    public static func == (left: Self, right: Self) -> Bool {
        left.hostFeaturesSelect == right.hostFeaturesSelect && left.guestFeaturesSelect == right.guestFeaturesSelect
            && left.guestPageShift == right.guestPageShift && left.status == right.status
            && left.interruptStatus == right.interruptStatus && left.selectedQueue == right.selectedQueue
            && left.guestFeatures == right.guestFeatures && left.configuration == right.configuration
            && left.queues == right.queues && left.isBroken == right.isBroken && left.isStarted == right.isStarted
            && left.isDisabled == right.isDisabled && left.deviceEndian == right.deviceEndian
            && left.parts == right.parts && left.writtenFeatures[0] == right.writtenFeatures[0]
            && left.writtenFeatures[1] == right.writtenFeatures[1]
    }
}

/// One virtqueue.
public struct VirtioQueueState: Equatable, Sendable {
    /// Descriptors; 0 for a queue that is not used.
    public var size: UInt32 = 0
    /// The size that the device proposes.
    public var proposedSize: UInt32 = 0
    /// Legacy transport: alignment of the used ring in bytes.
    public var alignment: UInt32 = 0
    /// Guest addresses; 0 while the driver has not set the queue up. On the legacy transport the other two follow from the first.
    public var descriptorTable: UInt64 = 0
    public var availableRing: UInt64 = 0
    public var usedRing: UInt64 = 0
    /// The available index up to which the device has taken requests.
    public var lastAvailableIndex: UInt16 = 0
    /// Modern transport: what the driver wrote, before it enabled the queue.
    public var written = VirtioWrittenQueue()
    public var packed = VirtioPackedQueue()

    public init() {}
}

/// The registers of one queue as the driver wrote them.
public struct VirtioWrittenQueue: StateFormat, Equatable, Sendable {
    public static let vmsdName = "virtio_mmio/queue_state"
    public static let currentVersion = 1

    public var size: UInt16 = 0
    public var isEnabled = false
    /// Low half first.
    public var descriptorTable: [2 of UInt32] = [0, 0]
    public var availableRing: [2 of UInt32] = [0, 0]
    public var usedRing: [2 of UInt32] = [0, 0]

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("num", &size)
        try coder.field("enabled", &isEnabled)
        try coder.field("desc[0]", &descriptorTable[0])
        try coder.field("desc[1]", &descriptorTable[1])
        try coder.field("avail[0]", &availableRing[0])
        try coder.field("avail[1]", &availableRing[1])
        try coder.field("used[0]", &usedRing[0])
        try coder.field("used[1]", &usedRing[1])
    }

    public static func == (left: Self, right: Self) -> Bool {
        left.size == right.size && left.isEnabled == right.isEnabled
            && (0..<2).allSatisfy {
                left.descriptorTable[$0] == right.descriptorTable[$0]
                    && left.availableRing[$0] == right.availableRing[$0] && left.usedRing[$0] == right.usedRing[$0]
            }
    }
}

/// The indices of a packed ring.
public struct VirtioPackedQueue: StateFormat, Equatable, Sendable {
    public static let vmsdName = "packed_virtqueue_state"
    public static let currentVersion = 1

    public var lastAvailableIndex: UInt16 = 0
    public var lastAvailableWrap = false
    public var usedIndex: UInt16 = 0
    public var usedWrap = false
    public var inUseCount: UInt32 = 0

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("last_avail_idx", &lastAvailableIndex)
        try coder.field("last_avail_wrap_counter", &lastAvailableWrap)
        try coder.field("used_idx", &usedIndex)
        try coder.field("used_wrap_counter", &usedWrap)
        try coder.field("inuse", &inUseCount)
    }
}
