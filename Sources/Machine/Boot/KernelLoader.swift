internal import GuestMemory

/// What a guest starts with: a kernel, perhaps an initial RAM disk, and a command line.
public struct BootSource: Equatable, Sendable {
    public var kernelPath: String
    public var initialRAMDiskPath: String?
    public var commandLine: String

    public init(kernelPath: String, initialRAMDiskPath: String? = nil, commandLine: String = "") {
        self.kernelPath = kernelPath
        self.initialRAMDiskPath = initialRAMDiskPath
        self.commandLine = commandLine
    }
}

/// How the first virtual CPU begins.
enum BootEntry: Equatable {
    /// 64-bit mode with paging: Linux's boot protocol. `parameters` goes into RSI.
    case long(address: UInt64, parameters: UInt64)
    /// 32-bit protected mode without paging: PVH. `startInfo` goes into EBX.
    case protected(address: UInt32, startInfo: UInt32)
}

/// Where the loaders put what they make, in the first 640 KiB, which kernels leave alone until they have read it.
enum BootPlace {
    static let descriptorTable: UInt64 = 0x0500
    static let startInfo: UInt64 = 0x6000
    static let bootParameters: UInt64 = 0x7000
    static let pageTables: UInt64 = 0x9000
    static let commandLine: UInt64 = 0x2_0000
    /// Up to the reserved area below 640 KiB.
    static let commandLineLimit = 0x7_0000
    static let acpiTables: UInt64 = 0xE_0000
    static let acpiLimit: UInt64 = 0xF_0000
    static let kernel: UInt64 = 0x10_0000
}

/// Puts a kernel and what it needs into guest memory.
struct KernelLoader {
    let layout: MachineLayout
    let memory: GuestAddressSpace

    /// Loads everything; the memory below 1 MiB that is used is written anew, so a guest can be reset this way.
    ///
    /// - Parameter rsdp: the address of the ACPI tables' root.
    func load(
        kernel: ImageFile, initialRAMDisk: ImageFile?, commandLine: String, rsdp: UInt64
    ) throws -> BootEntry {
        try writeDescriptorTable()
        try writePageTables()
        let magic = try kernel.bytes("header", at: 0, count: min(kernel.byteCount, 4))
        if magic == [0x7F, 0x45, 0x4C, 0x46] {
            return try loadPVH(kernel, initialRAMDisk, commandLine, rsdp)
        }
        guard try LinuxHeader.isPresent(in: kernel) else {
            let found = magic.isEmpty ? "nothing" : magic.map { "0x" + hex(UInt64($0)) }.joined(separator: " ")
            throw BootError.notAKernel(file: kernel.name, found: found)
        }
        return try loadLinux(kernel, initialRAMDisk, commandLine, rsdp)
    }

    /// A command line, with its ending zero.
    func writeCommandLine(_ text: String, limit: Int) throws {
        let bytes = Array(text.utf8)
        let limit = min(limit, BootPlace.commandLineLimit - 1)
        guard bytes.count <= limit else { throw BootError.commandLineTooLong(byteCount: bytes.count, limit: limit) }
        try memory.write(bytes + [0], at: GuestAddress(BootPlace.commandLine))
    }

    /// Loads a part of an image at `address`, which is in RAM below 4 GiB and above what the loaders use.
    func load(_ what: String, of image: ImageFile, at offset: UInt64, count: UInt64, to address: UInt64) throws {
        let limit = UInt64(layout.lowMemoryByteCount)
        guard address >= BootPlace.kernel, address <= limit, count <= limit - address else {
            throw BootError.noRoom(what: what, address: address, byteCount: count, limit: limit)
        }
        let slice = try memory.slice(at: GuestAddress(address), byteCount: Int(count), forWriting: true)
        try image.load(what, at: offset, into: slice)
    }

    /// Loads the initial RAM disk as high as it may lie and returns where, page aligned.
    func loadInitialRAMDisk(_ image: ImageFile, above floor: UInt64, below ceiling: UInt64) throws -> UInt64 {
        let limit = min(ceiling, UInt64(layout.lowMemoryByteCount))
        let what = "the initial RAM disk"
        guard image.byteCount <= limit, (limit - image.byteCount) & ~0xFFF >= floor else {
            throw BootError.noRoom(what: what, address: floor, byteCount: image.byteCount, limit: limit)
        }
        let address = (limit - image.byteCount) & ~0xFFF
        try load(what, of: image, at: 0, count: image.byteCount, to: address)
        return address
    }

    /// Null, null, 64-bit code, data, 32-bit code, task: selectors 0x10, 0x18, 0x20, 0x28.
    private func writeDescriptorTable() throws {
        var bytes: [UInt8] = []
        for descriptor in SegmentDescriptor.table { bytes.appendField(descriptor) }
        try memory.write(bytes, at: GuestAddress(BootPlace.descriptorTable))
    }

    /// Maps the first 4 GiB to themselves in pages of 2 MiB: one page of each upper level, four of the lowest.
    private func writePageTables() throws {
        let root = BootPlace.pageTables
        var tables = [UInt8](repeating: 0, count: 6 * pageSize)
        let presentAndWritable: UInt64 = 3
        tables.setField(root + 0x1000 | presentAndWritable, at: 0)
        for index in 0..<4 {
            tables.setField(root + 0x2000 + UInt64(index) * 0x1000 | presentAndWritable, at: 0x1000 + index * 8)
        }
        let large: UInt64 = 0x80
        for index in 0..<2048 {
            tables.setField(UInt64(index) << 21 | large | presentAndWritable, at: 0x2000 + index * 8)
        }
        try memory.write(tables, at: GuestAddress(root))
    }
}

/// The descriptors the first virtual CPU starts with.
enum SegmentDescriptor {
    static let code64: UInt64 = 0x00AF_9B00_0000_FFFF
    static let data: UInt64 = 0x00CF_9300_0000_FFFF
    static let code32: UInt64 = 0x00CF_9B00_0000_FFFF
    static let task: UInt64 = 0x008F_8B00_0000_FFFF
    static let table = [0, 0, code64, data, code32, task]
    static let code64Selector: UInt16 = 0x10
    static let dataSelector: UInt16 = 0x18
    static let code32Selector: UInt16 = 0x20
    static let taskSelector: UInt16 = 0x28
}
