/// A virtio source of random numbers: section `virtio-mmio@…/virtio-rng`. It has nothing of its own.
public struct VirtioEntropyState: DeviceState, Equatable {
    public static let vmsdName = "virtio-rng"
    public static let currentVersion = 1
    public static let minimumVersion = 1

    public var virtio = VirtioState()

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.undescribed("virtio", type: "virtio") { coder throws(StateError) in
            try virtio.transferCore(&coder)
            try virtio.transferSubsections(&coder)
        }
    }
}
