internal import GuestMemory
internal import LinuxSystem
public import MigrationStream

/// Random numbers for the guest: virtio-rng, fed from the kernel's own generator.
public final class EntropyDevice: VirtioDevice {
    public let name = "virtio-rng"
    public let deviceID: UInt32 = 4
    public let queueSizes: [UInt16] = [8]
    public let features: UInt64 = 0
    public let link = VirtioLink()
    public let configuration: [UInt8] = []
    public let hostDescriptor: Int32? = nil

    /// The most bytes one request gets: a driver asks again, and a hostile one does not hold the thread.
    static let largestRequest = 64 << 10

    public init() {}

    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) {}
    public func driverIsReady(features: UInt64) {}
    public func resetDevice() {}

    // A request is answered at once and leaves nothing.
    public func save(into state: inout VirtioEntropyState) {}
    public func load(_ state: VirtioEntropyState) {}

    public func serve(_ event: VirtioEvent, _ queues: inout VirtioQueues) throws(VirtioError) {
        guard event == .queue(0) else { return }
        while let chain = try queues.take(from: 0) {
            var done = 0
            for slice in chain.writable(from: 0, count: Self.largestRequest) {
                fillWithRandomBytes(slice.bytes)
                slice.markDirty()
                done += slice.byteCount
            }
            try queues.give(chain, byteCount: done)
        }
        try queues.interruptDriver(for: 0)
    }
}
