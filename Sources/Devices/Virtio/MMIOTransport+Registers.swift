/// The register file of virtio-mmio, version 2: offsets in bytes, each register 4 bytes.
enum Register {
    static let magic: UInt64 = 0x000
    static let version: UInt64 = 0x004
    static let deviceID: UInt64 = 0x008
    static let vendor: UInt64 = 0x00C
    static let deviceFeatures: UInt64 = 0x010
    static let deviceFeaturesSelect: UInt64 = 0x014
    static let driverFeatures: UInt64 = 0x020
    static let driverFeaturesSelect: UInt64 = 0x024
    static let queueSelect: UInt64 = 0x030
    static let queueSizeMaximum: UInt64 = 0x034
    static let queueSize: UInt64 = 0x038
    static let queueReady: UInt64 = 0x044
    static let queueNotify: UInt64 = 0x050
    static let interruptStatus: UInt64 = 0x060
    static let interruptAcknowledge: UInt64 = 0x064
    static let status: UInt64 = 0x070
    static let descriptorTableLow: UInt64 = 0x080
    static let descriptorTableHigh: UInt64 = 0x084
    static let availableRingLow: UInt64 = 0x090
    static let availableRingHigh: UInt64 = 0x094
    static let usedRingLow: UInt64 = 0x0A0
    static let usedRingHigh: UInt64 = 0x0A4
    static let sharedMemoryLengthLow: UInt64 = 0x0B0
    static let sharedMemoryLengthHigh: UInt64 = 0x0B4
    static let sharedMemoryBaseLow: UInt64 = 0x0B8
    static let sharedMemoryBaseHigh: UInt64 = 0x0BC
    static let configurationGeneration: UInt64 = 0x0FC
    /// The configuration space of the device, to the end.
    static let configuration: UInt64 = 0x100

    /// "virt".
    static let magicValue: UInt64 = 0x7472_6976
    /// "QEMU", which the guest saw before it came and will see where it goes.
    static let vendorValue: UInt64 = 0x554D_4551
}

extension MMIOTransport.QueueRegisters {
    /// Stores the halves of addresses and the size as the driver writes them; checked when the queue is made ready.
    mutating func write(_ word: UInt32, at offset: UInt64) {
        switch offset {
        case Register.queueSize: size = UInt16(clamping: word)
        case Register.descriptorTableLow: descriptorTable.setHalf(.low, word)
        case Register.descriptorTableHigh: descriptorTable.setHalf(.high, word)
        case Register.availableRingLow: availableRing.setHalf(.low, word)
        case Register.availableRingHigh: availableRing.setHalf(.high, word)
        case Register.usedRingLow: usedRing.setHalf(.low, word)
        case Register.usedRingHigh: usedRing.setHalf(.high, word)
        default: break
        }
    }
}

extension UInt64 {
    enum Half {
        case low
        case high
    }

    mutating func setHalf(_ half: Half, _ word: UInt32) {
        switch half {
        case .low: self = self & 0xFFFF_FFFF_0000_0000 | UInt64(word)
        case .high: self = self & 0x0000_0000_FFFF_FFFF | UInt64(word) << 32
        }
    }
}
