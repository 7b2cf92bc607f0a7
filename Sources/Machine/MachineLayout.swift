public import GuestMemory

/// Where everything is in the guest: QEMU's `-M microvm,ioapic2=off` with ACPI.
///
/// KVM's own IOAPIC has 24 pins and is the only one it has, so the variant of microvm with one IOAPIC is the peer: eight
/// virtio-mmio transports, transport i at GSI 16 + i. (QEMU's default has a second IOAPIC and 24 transports from GSI 24
/// on; `acpi=off` has eight from GSI 5 on.) Devices take transports from the highest down, in the order of the
/// configuration, as QEMU's command line does.
///
///     0x0000_0000  RAM, block microvm.ram from offset 0, up to 3 GiB
///     0x000E_0000  in it: ACPI tables (QEMU's firmware puts its own elsewhere; nothing of theirs is touched)
///     0xFEA0_0000  generic event device, and its sleep registers at +0x200
///     0xFEB0_0000  transports, 512 bytes each
///     0xFEC0_0000  IOAPIC       0xFEE0_0000  LAPIC, MSI
///     0xFFFF_0000  pc.bios, 64 KiB, read-only
///     4 GiB        the rest of RAM, block microvm.ram from offset 3 GiB
public struct MachineLayout: Equatable, Sendable {
    public static let ramBlockName = "microvm.ram"
    public static let firmwareBlockName = "pc.bios"
    /// Where RAM below 4 GiB ends at the latest.
    public static let lowMemoryLimit = 3 << 30
    public static let highMemoryAddress: UInt64 = 1 << 32

    public static let transportCount = 8
    public static let transportAddress: UInt64 = 0xFEB0_0000
    public static let firstTransportInterrupt: UInt32 = 16

    public static let ioAPICAddress: UInt64 = 0xFEC0_0000
    public static let ioAPICPinCount = 24
    public static let localAPICAddress: UInt64 = 0xFEE0_0000
    public static let firmwareAddress: UInt64 = 0xFFFF_0000
    public static let firmwareByteCount = 0x1_0000

    public static let serialPort: UInt64 = 0x3F8
    public static let serialInterrupt: UInt32 = 4
    public static let clockPort: UInt64 = 0x70
    public static let clockInterrupt: UInt32 = 8
    public static let eventInterrupt: UInt32 = 9

    /// Three pages and one page that Intel hosts need in the guest's address space, where nothing else is.
    public static let tssAddress: UInt32 = 0xFFFB_D000
    public static let identityMapAddress: UInt64 = 0xFFFB_C000

    /// The guest's RAM, a multiple of the page size.
    public let ramByteCount: Int

    public init(ramByteCount: Int) {
        precondition(ramByteCount > 0 && ramByteCount % pageSize == 0, "\(ramByteCount) bytes of RAM")
        self.ramByteCount = ramByteCount
    }

    public var lowMemoryByteCount: Int { min(ramByteCount, Self.lowMemoryLimit) }
    public var highMemoryByteCount: Int { ramByteCount - lowMemoryByteCount }

    /// The address of transport `index`, 0 to 7.
    public static func address(ofTransport index: Int) -> UInt64 { transportAddress + UInt64(index) * 0x200 }
    public static func interrupt(ofTransport index: Int) -> UInt32 { firstTransportInterrupt + UInt32(index) }

    /// The transport for the device at `position` in the configuration.
    public static func transport(forDevice position: Int) -> Int { transportCount - 1 - position }

    /// The prefix of a virtio device's section: "virtio-mmio@00000000feb00e00".
    public static func path(ofTransport index: Int) -> String {
        let digits = String(address(ofTransport: index), radix: 16)
        return "virtio-mmio@" + String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Where RAM is, as regions of the guest's address space.
    public func regions(of block: RAMBlock) -> [GuestAddressSpace.Region] {
        precondition(block.byteCount == ramByteCount, "\(block.byteCount) bytes for \(ramByteCount)")
        let low = GuestAddressSpace.Region(address: GuestAddress(0), byteCount: lowMemoryByteCount, block: block)
        guard highMemoryByteCount > 0 else { return [low] }
        return [
            low,
            .init(
                address: GuestAddress(Self.highMemoryAddress), byteCount: highMemoryByteCount, block: block,
                blockOffset: lowMemoryByteCount),
        ]
    }
}

extension MachineLayout {
    /// What firmware reads of the memory's size behind the clock's registers, by index; as QEMU leaves it there.
    var clockMemory: [(index: Int, value: UInt8)] {
        func place(_ count: Int, _ indices: Int...) -> [(index: Int, value: UInt8)] {
            indices.enumerated().map { ($1, UInt8(truncatingIfNeeded: count >> (8 * $0))) }
        }
        let kibibytes = lowMemoryByteCount >> 10
        let extended = min(max(0, kibibytes - 1024), 0xFFFF)
        return place(min(kibibytes, 640), 0x15, 0x16) + place(extended, 0x17, 0x18) + place(extended, 0x30, 0x31)
            + place(min(max(0, lowMemoryByteCount - (16 << 20)) >> 16, 0xFFFF), 0x34, 0x35)
            + place(highMemoryByteCount >> 16, 0x5B, 0x5C, 0x5D)
    }
}

/// A range of the memory map that a guest is told.
public struct MemoryMapEntry: Equatable, Sendable {
    /// The numbers of e820 and of the PVH memory map.
    public enum Kind: UInt32, Sendable {
        case usable = 1
        case reserved = 2
        case acpiNonVolatile = 4
    }

    public let address: UInt64
    public let byteCount: UInt64
    public let kind: Kind
}

extension MachineLayout {
    /// What QEMU's firmware for microvm tells a kernel. It is the same here, so that a guest that moves and reboots
    /// finds the memory it had.
    public var memoryMap: [MemoryMapEntry] {
        var map: [MemoryMapEntry] = [
            .init(address: 0, byteCount: 0x9_FC00, kind: .usable),
            .init(address: 0x9_FC00, byteCount: 0x400, kind: .reserved),
            .init(address: 0xD_0000, byteCount: 0x2_0000, kind: .acpiNonVolatile),
            .init(address: 0xF_0000, byteCount: 0x1_0000, kind: .reserved),
        ]
        if lowMemoryByteCount > 0x10_0000 {
            map.append(
                .init(address: 0x10_0000, byteCount: UInt64(lowMemoryByteCount - 0x10_0000), kind: .usable))
        }
        if highMemoryByteCount > 0 {
            map.append(
                .init(address: Self.highMemoryAddress, byteCount: UInt64(highMemoryByteCount), kind: .usable))
        }
        return map
    }
}
