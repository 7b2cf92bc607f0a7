import GuestMemory
import LinuxSystem
import Testing

@testable import Machine

/// The smallest images the loaders take, to be damaged.
private enum Image {
    /// A bzImage: two set-up sectors, protocol 2.15, 64-bit entry, preferred at 16 MiB, 4 MiB initial size.
    static var linux: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 3 * 512 + 5000)
        bytes[0x1F1] = 2
        bytes.setField(UInt16(0xAA55), at: 0x1FE)
        bytes[0x201] = 0x6A
        bytes.replaceSubrange(0x202..<0x206, with: Array("HdrS".utf8))
        bytes.setField(UInt16(0x020F), at: 0x206)
        bytes[0x211] = 1
        bytes.setField(UInt32(0x7FFF_FFFF), at: 0x22C)
        bytes.setField(UInt16(1), at: 0x236)
        bytes.setField(UInt32(2047), at: 0x238)
        bytes.setField(UInt64(16 << 20), at: 0x258)
        bytes.setField(UInt32(4 << 20), at: 0x260)
        for index in 1536..<bytes.count { bytes[index] = UInt8(truncatingIfNeeded: index) }
        return bytes
    }

    /// An ELF64 file with one segment of 100 bytes (200 in memory) at 2 MiB and a Xen note with entry 0x200010.
    static var pvh: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 64 + 2 * 56)
        bytes.replaceSubrange(0..<6, with: [0x7F, 0x45, 0x4C, 0x46, 2, 1])
        bytes.setField(UInt16(62), at: 18)
        bytes.setField(UInt64(64), at: 32)
        bytes.setField(UInt16(56), at: 54)
        bytes.setField(UInt16(2), at: 56)
        let segments: [[UInt64]] = [[1, 196, 0, 2 << 20, 100, 200, 0], [4, 176, 0, 0, 20, 20, 0]]
        for (index, segment) in segments.enumerated() {
            for (word, value) in segment.enumerated() {
                bytes.setField(value, at: 64 + index * 56 + word * 8)
            }
        }
        for word in [4, 4, 18] as [UInt32] { bytes.appendField(word) }
        bytes += Array("Xen\0".utf8)
        bytes.appendField(UInt32(0x20_0010))
        return bytes + [UInt8](repeating: 0xC3, count: 100)
    }
}

@Suite("Boot") struct BootTests {
    private let layout = MachineLayout(ramByteCount: 32 << 20)
    private let memory: GuestAddressSpace
    private let loader: KernelLoader

    init() throws {
        let ram = RAMBlock(
            name: MachineLayout.ramBlockName,
            mapping: try MemoryMapping(.anonymousSmallPages, byteCount: 32 << 20))
        memory = GuestAddressSpace(regions: layout.regions(of: ram))
        loader = KernelLoader(layout: layout, memory: memory)
    }

    private func load(
        _ bytes: [UInt8], initialRAMDisk: [UInt8]? = nil, commandLine: String = "console=ttyS0"
    ) throws
        -> BootEntry
    {
        try loader.load(
            kernel: ImageFile(name: "kernel", bytes: bytes),
            initialRAMDisk: initialRAMDisk.map { ImageFile(name: "initrd", bytes: $0) },
            commandLine: commandLine,
            rsdp: 0xE_0000)
    }

    @Test func `a bzImage is loaded at 1 MiB behind its set-up sectors`() throws {
        #expect(try load(Image.linux) == .long(address: 0x10_0200, parameters: 0x7000))
        #expect(
            try memory.bytes(at: GuestAddress(0x10_0000), count: 5000) == Array(Image.linux[1536...]))
    }

    @Test func `the zero page says what a boot loader has to say`() throws {
        let disk = [UInt8](repeating: 0xD1, count: 10_000)
        _ = try load(Image.linux, initialRAMDisk: disk)
        let page = try memory.bytes(at: GuestAddress(0x7000), count: 4096)
        #expect(Array(page[0x202..<0x206]) == Array("HdrS".utf8))
        #expect(page[0x210] == 0xFF)
        #expect(page.field(UInt64.self, at: 0x070) == 0xE_0000)
        #expect(page.field(UInt32.self, at: 0x228) == 0x2_0000)
        #expect(
            try memory.bytes(at: GuestAddress(0x2_0000), count: 14) == Array("console=ttyS0\0".utf8))
        let address = page.field(UInt32.self, at: 0x218)
        #expect(address == (32 << 20) - 12288)
        #expect(page.field(UInt32.self, at: 0x21C) == 10_000)
        #expect(try memory.bytes(at: GuestAddress(UInt64(address)), count: 10_000) == disk)
        #expect(page[0x1E8] == 5)
        let last = 0x2D0 + 4 * 20
        #expect(page.field(UInt64.self, at: last) == 0x10_0000)
        #expect(page.field(UInt64.self, at: last + 8) == 31 << 20)
        #expect(page.field(UInt32.self, at: last + 16) == 1)
    }

    @Test func `the first 4 GiB are mapped to themselves`() throws {
        _ = try load(Image.linux)
        func entry(_ table: UInt64, _ index: UInt64) throws -> UInt64 {
            try memory.readUInt64(at: GuestAddress(table + index * 8))
        }
        for address in [0, 0x10_0200, 0x7FFF_FFFF, 0xFEB0_0E00] as [UInt64] {
            let upper = try entry(0x9000, address >> 39) & ~0xFFF
            let middle = try entry(upper, address >> 30 & 511) & ~0xFFF
            let lower = try entry(middle, address >> 21 & 511)
            #expect(lower & 0x83 == 0x83)
            #expect(lower & ~0x1F_FFFF == address & ~0x1F_FFFF)
        }
    }

    @Test func `a PVH kernel is loaded where its segments say, the rest zeroed`() throws {
        try memory.write([UInt8](repeating: 9, count: 300), at: GuestAddress(2 << 20))
        #expect(try load(Image.pvh) == .protected(address: 0x20_0010, startInfo: 0x6000))
        let bytes = try memory.bytes(at: GuestAddress(2 << 20), count: 201)
        #expect(
            bytes[..<100].allSatisfy { $0 == 0xC3 } && bytes[100..<200].allSatisfy { $0 == 0 }
                && bytes[200] == 9)
    }

    @Test func `a PVH kernel finds modules, command line, memory map and ACPI root`() throws {
        _ = try load(Image.pvh, initialRAMDisk: [1, 2, 3])
        let info = try memory.bytes(at: GuestAddress(0x6000), count: 4096)
        #expect(info.field(UInt32.self, at: 0) == 0x336E_C578)
        #expect(info.field(UInt32.self, at: 12) == 1)
        let modules = Int(info.field(UInt64.self, at: 16) - 0x6000)
        #expect(
            try memory.bytes(at: GuestAddress(info.field(UInt64.self, at: modules)), count: 3) == [
                1, 2, 3,
            ])
        #expect(info.field(UInt64.self, at: modules + 8) == 3)
        #expect(info.field(UInt64.self, at: 24) == 0x2_0000)
        #expect(info.field(UInt64.self, at: 32) == 0xE_0000)
        #expect(info.field(UInt32.self, at: 48) == 5)
        let map = Int(info.field(UInt64.self, at: 40) - 0x6000)
        #expect(info.field(UInt64.self, at: map + 8) == 0x9_FC00)
    }

    @Test(arguments: [0, 1, 4, 0x1FE, 0x205, 0x206, 0x27F, 0x280, 1535, 1536])
    func `a bzImage cut short is refused, not loaded`(at length: Int) throws {
        #expect(throws: BootError.self) { try load(Array(Image.linux.prefix(length))) }
    }

    @Test(arguments: Array(4..<64) + [64, 100, 175, 176, 195, 196, 295])
    func `a PVH kernel cut short is refused, not loaded`(at length: Int) throws {
        #expect(throws: BootError.self) { try load(Array(Image.pvh.prefix(length))) }
    }

    @Test func `every flipped bit of the headers gives a kernel or an error`() {
        for (image, range) in [(Image.linux, 0x1F1..<0x26C), (Image.pvh, 0..<196)] {
            for bit in range.lowerBound * 8..<range.upperBound * 8 {
                var damaged = image
                damaged[bit / 8] ^= 1 << UInt8(bit % 8)
                do { _ = try load(damaged) } catch {
                    #expect(error is BootError, "bit \(bit): \(error)")
                }
            }
        }
    }

    @Test func `errors name the file and both numbers`() {
        #expect(
            throws: BootError.notAKernel(file: "kernel", found: "0x23 0x21 0x2f 0x62")
        ) { try load(Array("#!/bin/sh\n".utf8)) }
        var old = Image.linux
        old.setField(UInt16(0x0206), at: 0x206)
        #expect(
            throws: BootError.unsupported(
                file: "kernel", "its boot protocol is 2.6 and has no 64-bit entry")
        ) { try load(old) }
        #expect(throws: BootError.commandLineTooLong(byteCount: 2048, limit: 2047)) {
            try load(Image.linux, commandLine: String(repeating: "x", count: 2048))
        }
        #expect(
            throws: BootError.noRoom(
                what: "the initial RAM disk", address: 20 << 20, byteCount: 13 << 20, limit: 32 << 20)
        ) { try load(Image.linux, initialRAMDisk: [UInt8](repeating: 0, count: 13 << 20)) }
    }

    @Test func `an ELF file without the Xen note is refused`() {
        var plain = Image.pvh
        plain[64 + 56] = 5
        #expect(
            throws: BootError.unsupported(file: "kernel", "it has no PVH entry (a Xen note of type 18)")
        ) {
            try load(plain)
        }
    }

    @Test(arguments: [(2 << 20, 2 << 20), (3 << 30, 3 << 30), (5 << 30, 3 << 30)] as [(Int, Int)])
    func `memory above 3 GiB is at 4 GiB`(byteCount: Int, low: Int) {
        let layout = MachineLayout(ramByteCount: byteCount)
        #expect(layout.lowMemoryByteCount == low)
        #expect(
            layout.memoryMap.filter { $0.kind == .usable && $0.address >= 1 << 32 }.map(\.byteCount)
                == (byteCount > low ? [UInt64(byteCount - low)] : []))
    }
}
