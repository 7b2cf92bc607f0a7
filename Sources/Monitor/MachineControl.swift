public import QMP

/// What the monitor needs of a machine.
///
/// Only `StateDriver` calls what changes the machine, one call at a time and on a thread that may block.
public protocol MachineControl: Sendable {
    /// Stops all virtual CPUs and devices' threads; the guest stands still when this returns.
    func pause() throws
    /// Does what can fail before the guest goes on. `resume` or `pause` follows.
    func prepareToResume() throws
    /// Lets the guest go on, as `prepareToResume` has made it ready to.
    func resume()
    /// Brings machine and devices into the state of power-on. The guest stands still.
    func reset() throws
    /// Presses the power button; the guest does what it wants.
    func pressPowerButton() throws

    /// For `query-cpus-fast`, in the order of their numbers.
    func virtualCPUs() async -> [VirtualCPUInformation]
    /// For `query-block`.
    func blockDevices() async -> [BlockDeviceInformation]

    /// Asks the guest to make do with so many bytes of memory, by its balloon; false when there is no balloon.
    func setBalloon(byteCount: Int) async -> Bool
    /// How many bytes of memory the guest has left to itself; nil when there is no balloon.
    func balloonByteCount() async -> Int?
}

/// One virtual CPU in the answer to `query-cpus-fast`.
public struct VirtualCPUInformation: Equatable, Sendable {
    public var index: Int
    /// The kernel's id of the thread that runs it.
    public var threadID: Int

    public init(index: Int, threadID: Int) {
        self.index = index
        self.threadID = threadID
    }

    /// As in QEMU, with one core per socket.
    public var value: QMPValue {
        [
            "cpu-index": QMPValue(index), "qom-path": .string("/machine/unattached/device[\(index)]"),
            "thread-id": QMPValue(threadID), "target": "x86_64",
            "props": ["core-id": 0, "thread-id": 0, "socket-id": QMPValue(index)],
        ]
    }
}

/// One disk in the answer to `query-block`.
public struct BlockDeviceInformation: Equatable, Sendable {
    /// The name a person gave, or "virtio0".
    public var device: String
    public var qdev: String
    public var path: String
    /// "raw", "host_device", "nbd".
    public var driver: String
    public var isReadOnly: Bool
    /// What the guest sees, in bytes.
    public var virtualSize: UInt64
    /// What the file takes on its disk, in bytes; nil when that is not known.
    public var actualSize: UInt64?
    /// False while another host owns the image.
    public var isActive: Bool
    /// Whether an error stopped the guest.
    public var hasFailed: Bool

    public init(
        device: String, qdev: String, path: String, driver: String = "raw", isReadOnly: Bool, virtualSize: UInt64,
        actualSize: UInt64? = nil, isActive: Bool = true, hasFailed: Bool = false
    ) {
        self.device = device
        self.qdev = qdev
        self.path = path
        self.driver = driver
        self.isReadOnly = isReadOnly
        self.virtualSize = virtualSize
        self.actualSize = actualSize
        self.isActive = isActive
        self.hasFailed = hasFailed
    }

    public var value: QMPValue {
        var image: QMPObject = ["filename": .string(path), "format": .string(driver), "dirty-flag": false]
        image["virtual-size"] = QMPValue(virtualSize)
        image["actual-size"] = actualSize.map { QMPValue($0) }
        return [
            "device": .string(device), "qdev": .string(qdev), "type": "unknown", "removable": false, "locked": false,
            "io-status": hasFailed ? "failed" : "ok",
            "inserted": [
                "file": .string(path), "drv": .string(driver), "ro": .bool(isReadOnly), "encrypted": false,
                "backing_file_depth": 0, "active": .bool(isActive), "detect_zeroes": "off",
                "cache": ["writeback": true, "direct": false, "no-flush": false], "bps": 0, "bps_rd": 0, "bps_wr": 0,
                "iops": 0, "iops_rd": 0, "iops_wr": 0, "write_threshold": 0, "image": .object(image),
            ],
        ]
    }
}
