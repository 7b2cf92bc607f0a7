/// A virtio network card: section `virtio-mmio@…/virtio-net`, version 11.
public struct VirtioNetState: DeviceState, Equatable {
    public static let vmsdName = "virtio-net"
    public static let currentVersion = 11
    public static let minimumVersion = 11
    /// Entries of the address table that are kept; a source that has more gets them skipped.
    public static let addressTableLimit = 64

    public var virtio = VirtioState()
    public var mac = [UInt8](repeating: 0, count: 6)
    /// Not 0 while a timer delays sending, per pair of queues in use.
    public var transmitWaiting: [UInt32] = [0]
    public var mergesReceiveBuffers: UInt32 = 0
    public var linkStatus: UInt16 = 1
    public var isPromiscuous: UInt8 = 1
    public var receivesAllMulticast: UInt8 = 0
    /// Addresses to receive, 6 bytes each, unicast ones first.
    public var addressTable: [UInt8] = []
    /// A bit per VLAN, in 32-bit words of the host's order; all ones until the driver filters.
    public var vlans = [UInt8](repeating: 0xFF, count: 512)
    /// Whether frames have a header between the host's backend and the device.
    public var hasHeader: UInt32 = 0
    public var multicastOverflow: UInt8 = 0
    public var unicastOverflow: UInt8 = 0
    public var receivesAllUnicast: UInt8 = 0
    public var refusesMulticast: UInt8 = 0
    public var refusesUnicast: UInt8 = 0
    public var refusesBroadcast: UInt8 = 0
    public var hasUFO: UInt8 = 0
    /// Pairs of queues that the device has. More than one is in the stream and must be alike.
    public var queuePairLimit: UInt16 = 1
    public var queuePairCount: UInt16 = 1
    public var guestOffloads: UInt64 = 0
    public var receiveSideScaling: ReceiveSideScaling?

    public struct ReceiveSideScaling: Equatable, Sendable {
        public var isEnabled = true
        public var redirects = false
        public var populatesHash = false
        public var hashTypes: UInt32 = 0
        public var defaultQueue: UInt16 = 0
        /// 40 bytes.
        public var key = [UInt8](repeating: 0, count: 40)
        public var table: [UInt16] = []

        public init() {}
    }

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.undescribed("virtio", type: "virtio") { coder throws(StateError) in
            try virtio.transferCore(&coder)
            if coder.direction == .load { queuePairLimit = max(queuePairLimit, impliedQueuePairLimit) }
            try coder.named("virtio-net-device") { coder throws(StateError) in
                try transferDevice(&coder)
                try transferScaling(&coder)
            }
            try virtio.transferSubsections(&coder)
        }
    }

    /// What the stream tells of the number of pairs: the queues of a driver that uses several (feature bit 22), or the
    /// configuration space, of which bytes 8 and 9 hold the number if the driver has read it.
    private var impliedQueuePairLimit: UInt16 {
        if virtio.guestFeatures & 1 << 22 != 0 { return UInt16(truncatingIfNeeded: virtio.queueCount / 2) }
        guard virtio.configuration.count >= 10 else { return 1 }
        return max(1, UInt16(virtio.configuration[8]) | UInt16(virtio.configuration[9]) << 8)
    }

    private mutating func transferDevice(_ coder: inout StateCoder) throws(StateError) {
        if coder.direction == .load { transmitWaiting = [0] }
        try coder.field("mac", &mac, count: 6)
        try coder.field("tx_waiting", &transmitWaiting[0])
        try coder.field("mergeable_rx_bufs", &mergesReceiveBuffers)
        try coder.field("status", &linkStatus)
        try coder.field("promisc", &isPromiscuous)
        try coder.field("allmulti", &receivesAllMulticast)
        try transferAddressTable(&coder)
        try coder.buffer("vlans", &vlans, count: 512)
        try coder.field("has_vnet_hdr", &hasHeader)
        try coder.field("mac_table.multi_overflow", &multicastOverflow)
        try coder.field("mac_table.uni_overflow", &unicastOverflow)
        try coder.field("alluni", &receivesAllUnicast)
        try coder.field("nomulti", &refusesMulticast)
        try coder.field("nouni", &refusesUnicast)
        try coder.field("nobcast", &refusesBroadcast)
        try coder.field("has_ufo", &hasUFO)
        if queuePairLimit > 1 {
            try coder.equal("max_queue_pairs", queuePairLimit)
            try coder.field("curr_queue_pairs", &queuePairCount)
            guard (1...queuePairLimit).contains(queuePairCount) else {
                throw .limitExceeded(
                    field: coder.fieldPath("curr_queue_pairs"), found: UInt64(queuePairCount),
                    limit: UInt64(queuePairLimit), offset: coder.offset)
            }
            var others = Array(transmitWaiting.dropFirst())
            try coder.field("tx_waiting of other pairs", &others, count: Int(queuePairCount) - 1)
            transmitWaiting = [transmitWaiting[0]] + others
        }
        // The driver controls offloads: feature bit 2.
        if virtio.guestFeatures & 4 != 0 { try coder.field("curr_guest_offloads", &guestOffloads) }
    }

    private mutating func transferAddressTable(_ coder: inout StateCoder) throws(StateError) {
        var count = UInt32(addressTable.count / 6)
        try coder.field("mac_table.in_use", &count)
        // Loading more than fit keeps none, as in QEMU; the driver's filter is then open.
        try coder.check("mac_table.in_use", UInt64(count), atMost: 1 << 16)
        let byteCount = Int(count) * 6
        if count <= Self.addressTableLimit {
            try coder.buffer("mac_table.macs", &addressTable, count: byteCount)
        } else {
            try coder.unused("mac_table.macs", count: byteCount)
            addressTable = []
        }
    }

    private mutating func transferScaling(_ coder: inout StateCoder) throws(StateError) {
        if coder.direction == .load { receiveSideScaling = nil }
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("virtio-net-device/rss", isNeeded: receiveSideScaling != nil) {
                coder throws(StateError) in
                var state = receiveSideScaling ?? ReceiveSideScaling()
                try coder.field("rss_data.enabled", &state.isEnabled)
                try coder.field("rss_data.redirect", &state.redirects)
                try coder.field("rss_data.populate_hash", &state.populatesHash)
                try coder.field("rss_data.hash_types", &state.hashTypes)
                var count = UInt16(truncatingIfNeeded: state.table.count)
                try coder.field("rss_data.indirections_len", &count)
                try coder.field("rss_data.default_queue", &state.defaultQueue)
                try coder.field("rss_data.key", &state.key, count: 40)
                try coder.field("rss_data.indirections_table", &state.table, count: Int(count))
                receiveSideScaling = state
            }
        }
    }
}
