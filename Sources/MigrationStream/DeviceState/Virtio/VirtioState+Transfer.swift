extension VirtioState {
    /// What comes before the device's own part.
    mutating func transferCore(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("host_features_sel", &hostFeaturesSelect)
        try coder.field("guest_features_sel", &guestFeaturesSelect)
        try coder.field("guest_page_shift", &guestPageShift)
        try coder.field("status", &status)
        try coder.field("isr", &interruptStatus)
        try coder.field("queue_sel", &selectedQueue)
        var lowFeatures = UInt32(truncatingIfNeeded: guestFeatures)
        try coder.field("guest_features", &lowFeatures)
        var configurationCount = UInt32(truncatingIfNeeded: configuration.count)
        try coder.field("config_len", &configurationCount)
        try coder.check("config_len", UInt64(configurationCount), atMost: UInt64(Self.configurationLimit))
        try coder.buffer("config", &configuration, count: Int(configurationCount))
        if coder.direction == .load {
            self = VirtioState(loading: self)
            guestFeatures = UInt64(lowFeatures)
        }
        try transferQueuesInUse(&coder)
    }

    /// Keeps what the core has loaded and forgets what only subsections tell.
    private init(loading old: VirtioState) {
        hostFeaturesSelect = old.hostFeaturesSelect
        guestFeaturesSelect = old.guestFeaturesSelect
        guestPageShift = old.guestPageShift
        status = old.status
        interruptStatus = old.interruptStatus
        selectedQueue = old.selectedQueue
        configuration = old.configuration
    }

    private mutating func transferQueuesInUse(_ coder: inout StateCoder) throws(StateError) {
        var count = UInt32(queueCount)
        try coder.field("nvqs", &count)
        try coder.check("nvqs", UInt64(count), atMost: UInt64(Self.queueLimit))
        var inUse = queues.prefix(Int(count)).map { VirtioQueueInUse($0) }
        try coder.structures("vq", &inUse)
        guard coder.direction == .load else { return }
        for (index, queue) in inUse.enumerated() {
            queues[index].size = queue.size
            queues[index].proposedSize = queue.size
            queues[index].alignment = queue.alignment
            queues[index].descriptorTable = queue.descriptorTable
            queues[index].lastAvailableIndex = queue.lastAvailableIndex
        }
    }

    /// What comes after the device's own part.
    mutating func transferSubsections(_ coder: inout StateCoder) throws(StateError) {
        try coder.named("virtio") { coder throws(StateError) in
            try coder.subsections { coder throws(StateError) in
                try transferFeatures(&coder)
                try transferRings(&coder)
                try transferTransport(&coder)
                try coder.subsection("virtio/started", isNeeded: isStarted) { coder throws(StateError) in
                    try coder.field("started", &isStarted)
                }
                try transferPackedRings(&coder)
                try coder.subsection("virtio/disabled", isNeeded: isDisabled) { coder throws(StateError) in
                    try coder.field("disabled", &isDisabled)
                }
            }
        }
    }

    private mutating func transferFeatures(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection("virtio/device_endian", isNeeded: deviceEndian != nil) { coder throws(StateError) in
            var endian = deviceEndian ?? 0
            try coder.field("device_endian", &endian)
            deviceEndian = endian
        }
        try coder.subsection("virtio/64bit_features", isNeeded: parts.contains(.highFeatures)) {
            coder throws(StateError) in
            let low = UInt32(truncatingIfNeeded: guestFeatures)
            try coder.field("guest_features", &guestFeatures)
            // The device's part was laid out by the low half, which came before.
            guard UInt32(truncatingIfNeeded: guestFeatures) == low else {
                throw .unequal(
                    field: coder.fieldPath("guest_features"), expected: UInt64(low),
                    found: guestFeatures & 0xFFFF_FFFF, offset: coder.offset - 8)
            }
            parts.insert(.highFeatures)
        }
    }

    private mutating func transferRings(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection("virtio/virtqueues", isNeeded: parts.contains(.ringAddresses)) {
            coder throws(StateError) in
            var rings = queues.used.map(VirtioRingAddresses.init)
            try coder.structures(
                "vq", &rings, count: queues.count, blank: VirtioRingAddresses(VirtioQueueState()))
            for index in rings.indices where coder.direction == .load {
                queues[index].availableRing = rings[index].available
                queues[index].usedRing = rings[index].used
            }
            parts.insert(.ringAddresses)
        }
        try coder.subsection("virtio/ringsize", isNeeded: queues.hasOtherSizes) { coder throws(StateError) in
            var sizes = queues.map(\.proposedSize)
            try coder.field("vring.num_default", &sizes, count: Self.queueLimit)
            for index in queues.indices { queues[index].proposedSize = sizes[index] }
        }
        try coder.subsection("virtio/broken", isNeeded: isBroken) { coder throws(StateError) in
            try coder.field("broken", &isBroken)
        }
    }

    private mutating func transferTransport(_ coder: inout StateCoder) throws(StateError) {
        // The transport's own structure has no fields and one subsection.
        try coder.subsection("virtio/extra_state", isNeeded: parts.contains(.modernTransport)) {
            coder throws(StateError) in
            try coder.named("virtio_mmio") { coder throws(StateError) in
                try coder.subsections { coder throws(StateError) in
                    try coder.subsection("virtio_mmio/state", isNeeded: true) { coder throws(StateError) in
                        try coder.field("guest_features[0]", &writtenFeatures[0])
                        try coder.field("guest_features[1]", &writtenFeatures[1])
                        var written = queues.used.map(\.written)
                        try coder.structures("vqs", &written, count: queues.count, blank: VirtioWrittenQueue())
                        for index in written.indices where coder.direction == .load {
                            queues[index].written = written[index]
                        }
                        parts.insert(.modernTransport)
                    }
                }
            }
        }
    }

    private mutating func transferPackedRings(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection("virtio/packed_virtqueues", isNeeded: parts.contains(.packedRings)) {
            coder throws(StateError) in
            var rings = queues.used.map(\.packed)
            try coder.structures("vq", &rings, count: queues.count, blank: VirtioPackedQueue())
            for index in rings.indices where coder.direction == .load { queues[index].packed = rings[index] }
            parts.insert(.packedRings)
        }
    }
}

/// A queue as the core lists it.
private struct VirtioQueueInUse: StateFormat {
    static let vmsdName = "vq"
    static let currentVersion = 1

    var size: UInt32
    var alignment: UInt32
    var descriptorTable: UInt64
    var lastAvailableIndex: UInt16

    init(_ queue: VirtioQueueState) {
        size = queue.size
        alignment = queue.alignment
        descriptorTable = queue.descriptorTable
        lastAvailableIndex = queue.lastAvailableIndex
    }

    mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("vring.num", &size)
        try coder.field("vring.align", &alignment)
        try coder.field("vring.desc", &descriptorTable)
        try coder.field("last_avail_idx", &lastAvailableIndex)
    }
}

/// Where the rings of a queue lie that need not be in one piece.
private struct VirtioRingAddresses: StateFormat {
    static let vmsdName = "virtqueue_state"
    static let currentVersion = 1

    var available: UInt64
    var used: UInt64

    init(_ queue: VirtioQueueState) {
        available = queue.availableRing
        used = queue.usedRing
    }

    mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("vring.avail", &available)
        try coder.field("vring.used", &used)
    }
}
