/// A virtio disk: section `virtio-mmio@…/virtio-blk`, version 2.
public struct VirtioBlockState: DeviceState, Equatable {
    public static let vmsdName = "virtio-blk"
    public static let currentVersion = 2
    public static let minimumVersion = 2

    public var virtio = VirtioState()
    /// Requests that an I/O error has stopped; all others are answered before the state is saved.
    public var requests: [StoppedRequest] = []

    public struct StoppedRequest: Equatable, Sendable {
        /// 0 for a device with one queue.
        public var queue: UInt32
        public var request: VirtioRequest

        public init(queue: UInt32 = 0, request: VirtioRequest) {
            self.queue = queue
            self.request = request
        }
    }

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.undescribed("virtio", type: "virtio") { coder throws(StateError) in
            try virtio.transferCore(&coder)
            try transferRequests(&coder)
            try virtio.transferSubsections(&coder)
        }
    }

    /// Each request after a byte 1, and a byte 0 at the end.
    private mutating func transferRequests(_ coder: inout StateCoder) throws(StateError) {
        var rest = requests[...]
        if coder.direction == .load { requests = [] }
        while true {
            var follows: Int8 = rest.isEmpty ? 0 : 1
            try coder.field("request follows", &follows)
            if follows == 0 { return }
            var stopped = rest.popFirst() ?? StoppedRequest(request: VirtioRequest())
            if virtio.queueCount > 1 { try coder.field("queue", &stopped.queue) }
            try stopped.request.transfer(&coder, "request")
            if coder.direction == .load { requests.append(stopped) }
        }
    }
}
