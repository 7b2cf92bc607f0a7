/// A virtio console with its ports: section `virtio-mmio@…/virtio-console`, version 3.
public struct VirtioConsoleState: DeviceState, Equatable {
    public static let vmsdName = "virtio-console"
    public static let currentVersion = 3
    public static let minimumVersion = 3
    /// Ports that a device can have.
    public static let portLimit = 511

    public var virtio = VirtioState()
    public var columns: UInt16 = 0
    public var rows: UInt16 = 0
    /// Ports that may be plugged in.
    public var maximumPortCount: UInt32 = 31
    /// A bit per port that exists, port 0 lowest.
    public var portMap: [UInt32] = [1]
    public var ports: [Port] = []

    public struct Port: Equatable, Sendable {
        public var id: UInt32 = 0
        public var isGuestConnected: UInt8 = 0
        public var isHostConnected: UInt8 = 0
        /// A buffer that the host could not take whole.
        public var pending: PendingBuffer?

        public init() {}
    }

    public struct PendingBuffer: Equatable, Sendable {
        /// The segment that comes next, and the position within.
        public var segment: UInt32 = 0
        public var offset: UInt64 = 0
        public var request = VirtioRequest()

        public init() {}
    }

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.undescribed("virtio", type: "virtio") { coder throws(StateError) in
            try virtio.transferCore(&coder)
            try transferDevice(&coder)
            try virtio.transferSubsections(&coder)
        }
    }

    private mutating func transferDevice(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("config.cols", &columns)
        try coder.field("config.rows", &rows)
        try coder.field("config.max_nr_ports", &maximumPortCount)
        try coder.check("config.max_nr_ports", UInt64(maximumPortCount), atMost: UInt64(Self.portLimit))
        try coder.field("ports_map", &portMap, count: (Int(maximumPortCount) + 31) / 32)
        var count = UInt32(ports.count)
        try coder.field("nr_active_ports", &count)
        try coder.check("nr_active_ports", UInt64(count), atMost: UInt64(maximumPortCount))
        if coder.direction == .load { ports = [Port](repeating: Port(), count: Int(count)) }
        for index in ports.indices { try transfer(&coder, &ports[index]) }
    }

    private func transfer(_ coder: inout StateCoder, _ port: inout Port) throws(StateError) {
        try coder.field("port id", &port.id)
        try coder.field("guest_connected", &port.isGuestConnected)
        try coder.field("host_connected", &port.isHostConnected)
        var isPending: UInt32 = port.pending == nil ? 0 : 1
        try coder.field("elem_popped", &isPending)
        guard isPending != 0 else {
            port.pending = nil
            return
        }
        var pending = port.pending ?? PendingBuffer()
        try coder.field("iov_idx", &pending.segment)
        try coder.field("iov_offset", &pending.offset)
        try pending.request.transfer(&coder, "elem")
        port.pending = pending
    }
}
