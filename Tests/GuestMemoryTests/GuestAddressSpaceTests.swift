import GuestMemory
import LinuxSystem
import Testing

@Suite("Guest address space") struct GuestAddressSpaceTests {
    private let ram: RAMBlock
    private let rom: RAMBlock
    private let space: GuestAddressSpace

    /// 8 MiB of RAM, the upper half seen from 4 GiB on; 64 KiB of ROM below 4 GiB.
    init() throws {
        ram = RAMBlock(name: "ram", mapping: try MemoryMapping(.anonymous, byteCount: 8 << 20))
        rom = RAMBlock(name: "rom", mapping: try MemoryMapping(.anonymous, byteCount: 64 << 10))
        space = GuestAddressSpace(regions: [
            .init(address: GuestAddress(1 << 32), byteCount: 4 << 20, block: ram, blockOffset: 4 << 20),
            .init(address: GuestAddress(0xFFFF_0000), byteCount: 64 << 10, block: rom, isReadOnly: true),
            .init(address: GuestAddress(0), byteCount: 4 << 20, block: ram),
        ])
    }

    @Test func `memory above the hole is the upper part of the same block`() throws {
        try space.write([1, 2, 3], at: GuestAddress(1 << 32))
        #expect(Array(ram.bytes(at: 4 << 20, count: 3)) == [1, 2, 3])
        #expect(try space.bytes(at: GuestAddress((1 << 32) + 1), count: 2) == [2, 3])
    }

    @Test func `a write marks every page it touches`() throws {
        try space.write([UInt8](repeating: 7, count: 4098), at: GuestAddress(4095))
        #expect(ram.dirtyBitmap.firstRun(in: ram.allPages) == PageRange(first: PageIndex(0), pageCount: 3))
    }

    @Test func `a read marks nothing`() throws {
        _ = try space.bytes(at: GuestAddress(0), count: 100)
        #expect(ram.dirtyBitmap.count == 0)
    }

    @Test(arguments: [
        (0x3F_FFFF, 2), (0x40_0000, 1), (0xFFFF_FFFF, 2), (0x1_0040_0000, 1), (-1, 1), (0, 4 << 20 | 1), (0, .max),
    ])
    func `bytes that are not all memory are refused`(address: Int, byteCount: Int) {
        let address = GuestAddress(UInt64(bitPattern: Int64(address)))
        #expect(throws: GuestMemoryError.notMemory(address: address, byteCount: byteCount)) {
            try space.slice(at: address, byteCount: byteCount)
        }
    }

    @Test func `a negative length is refused`() {
        #expect(throws: GuestMemoryError.self) { try space.slice(at: GuestAddress(0), byteCount: -1) }
    }

    @Test func `read-only memory can be read and not written`() throws {
        #expect(try space.bytes(at: GuestAddress(0xFFFF_FFF0), count: 16).count == 16)
        #expect(throws: GuestMemoryError.readOnly(address: GuestAddress(0xFFFF_FFF0), byteCount: 1)) {
            try space.write([1], at: GuestAddress(0xFFFF_FFF0))
        }
    }

    @Test func `an atomic field must be aligned`() {
        #expect(throws: GuestMemoryError.misaligned(address: GuestAddress(0x1001), alignment: 2)) {
            try space.loadAcquiring16(at: GuestAddress(0x1001))
        }
    }

    @Test func `atomic fields are little-endian and mark their page`() throws {
        try space.storeReleasing16(0x1234, at: GuestAddress(0x2000))
        #expect(try space.bytes(at: GuestAddress(0x2000), count: 2) == [0x34, 0x12])
        #expect(try space.loadAcquiring16(at: GuestAddress(0x2000)) == 0x1234)
        #expect(ram.dirtyBitmap.contains(PageIndex(2)))
    }

    @Test func `discarded pages read as zero`() throws {
        try space.write([UInt8](repeating: 9, count: 3 * 4096), at: GuestAddress(0))
        try ram.discard(PageRange(first: PageIndex(1), pageCount: 1))
        #expect(try space.readUInt32(at: GuestAddress(0x0FFC)) == 0x0909_0909)
        #expect(try space.readUInt32(at: GuestAddress(0x1000)) == 0)
        #expect(try space.readUInt32(at: GuestAddress(0x2000)) == 0x0909_0909)
    }
}
