internal import GuestMemory

/// An ELF64 image with the Xen note that tells a 32-bit entry: a PVH kernel.
struct PVHImage {
    /// A part of the file that belongs into memory.
    struct Segment: Equatable {
        let offset: UInt64
        let address: UInt64
        let fileByteCount: UInt64
        let memoryByteCount: UInt64
    }

    let segments: [Segment]
    let entry: UInt32

    /// More program headers than any kernel has.
    private static let segmentLimit = 64
    /// More notes than any kernel has.
    private static let noteLimit: UInt64 = 1 << 20

    init(_ image: ImageFile) throws {
        let header = try image.bytes("ELF header", at: 0, count: 64)
        guard header[4] == 2, header[5] == 1, header.field(UInt16.self, at: 18) == 62 else {
            throw BootError.unsupported(file: image.name, "it is no little-endian 64-bit ELF file for x86-64")
        }
        let tableOffset = header.field(UInt64.self, at: 32)
        let entryByteCount = Int(header.field(UInt16.self, at: 54))
        let count = Int(header.field(UInt16.self, at: 56))
        guard entryByteCount == 56 else {
            throw BootError.invalid(file: image.name, field: "program header size", value: UInt64(entryByteCount))
        }
        guard count > 0, count <= Self.segmentLimit else {
            throw BootError.invalid(file: image.name, field: "number of program headers", value: UInt64(count))
        }
        let table = try image.bytes("program header table", at: tableOffset, count: UInt64(count * 56))
        var segments: [Segment] = []
        var entry: UInt32?
        for index in 0..<count {
            let base = index * 56
            let segment = Segment(
                offset: table.field(UInt64.self, at: base + 8), address: table.field(UInt64.self, at: base + 24),
                fileByteCount: table.field(UInt64.self, at: base + 32),
                memoryByteCount: table.field(UInt64.self, at: base + 40))
            switch table.field(UInt32.self, at: base) {
            case 1: segments.append(segment)
            case 4: entry = try entry ?? Self.entry(in: image, segment)
            default: break
            }
        }
        guard let entry else {
            throw BootError.unsupported(file: image.name, "it has no PVH entry (a Xen note of type 18)")
        }
        for segment in segments where segment.memoryByteCount < segment.fileByteCount {
            throw BootError.invalid(file: image.name, field: "segment size in memory", value: segment.memoryByteCount)
        }
        self.segments = segments.filter { $0.memoryByteCount > 0 }
        self.entry = entry
    }

    /// Looks through notes: name size u32, value size u32, type u32, name and value, each padded to 4 bytes.
    private static func entry(in image: ImageFile, _ segment: Segment) throws -> UInt32? {
        guard segment.fileByteCount <= noteLimit else {
            throw BootError.invalid(file: image.name, field: "size of notes", value: segment.fileByteCount)
        }
        let notes = try image.bytes("notes", at: segment.offset, count: segment.fileByteCount)
        var offset = 0
        while notes.count - offset >= 12 {
            let nameCount = Int(notes.field(UInt32.self, at: offset))
            let valueCount = Int(notes.field(UInt32.self, at: offset + 4))
            let type = notes.field(UInt32.self, at: offset + 8)
            let name = offset + 12
            let value = name + (nameCount + 3) / 4 * 4
            let next = value + (valueCount + 3) / 4 * 4
            guard next <= notes.count else {
                throw BootError.invalid(file: image.name, field: "note size", value: UInt64(nameCount + valueCount))
            }
            if type == 18, nameCount == 4, Array(notes[name..<name + 4]) == Array("Xen\0".utf8), valueCount >= 4 {
                return notes.field(UInt32.self, at: value)
            }
            offset = next
        }
        return nil
    }
}

extension KernelLoader {
    /// Loads an ELF kernel, to be entered in 32-bit mode.
    func loadPVH(
        _ kernel: ImageFile, _ initialRAMDisk: ImageFile?, _ commandLine: String, _ rsdp: UInt64
    ) throws -> BootEntry {
        let image = try PVHImage(kernel)
        var end = BootPlace.kernel
        for segment in image.segments {
            let limit = UInt64(layout.lowMemoryByteCount)
            guard segment.address <= limit, segment.memoryByteCount <= limit - segment.address else {
                throw BootError.noRoom(
                    what: "a segment of the kernel", address: segment.address, byteCount: segment.memoryByteCount,
                    limit: limit)
            }
            try load(
                "a segment of the kernel", of: kernel, at: segment.offset, count: segment.fileByteCount,
                to: segment.address)
            // A guest that is reset finds its zero-initialised data zero again.
            let rest = segment.memoryByteCount - segment.fileByteCount
            try memory.fillWithZeros(at: GuestAddress(segment.address + segment.fileByteCount), byteCount: Int(rest))
            end = max(end, segment.address + segment.memoryByteCount)
        }
        try writeCommandLine(commandLine, limit: BootPlace.commandLineLimit - 1)
        var modules: [(address: UInt64, byteCount: UInt64)] = []
        if let initialRAMDisk {
            let address = try loadInitialRAMDisk(initialRAMDisk, above: end, below: 1 << 32)
            modules.append((address, initialRAMDisk.byteCount))
        }
        try memory.write(startInfo(modules, rsdp: rsdp), at: GuestAddress(BootPlace.startInfo))
        return .protected(address: image.entry, startInfo: UInt32(BootPlace.startInfo))
    }

    /// offset  size  field of hvm_start_info, version 1
    ///      0     4  magic             4     4  version        8     4  flags     12     4  modules
    ///     16     8  module list      24     8  command line  32     8  ACPI root
    ///     40     8  memory map       48     4  its entries   52     4  reserved
    /// then the module list (address, size, command line, reserved: u64 each) and the memory map (address, size: u64,
    /// type, reserved: u32 each).
    private func startInfo(_ modules: [(address: UInt64, byteCount: UInt64)], rsdp: UInt64) -> [UInt8] {
        let map = layout.memoryMap
        let moduleList = BootPlace.startInfo + 56
        let mapAddress = moduleList + UInt64(modules.count) * 32
        var bytes: [UInt8] = []
        bytes.appendField(UInt32(0x336E_C578))
        bytes.appendField(UInt32(1))
        bytes.appendField(UInt32(0))
        bytes.appendField(UInt32(modules.count))
        bytes.appendField(modules.isEmpty ? 0 : moduleList)
        bytes.appendField(BootPlace.commandLine)
        bytes.appendField(rsdp)
        bytes.appendField(mapAddress)
        bytes.appendField(UInt32(map.count))
        bytes.appendField(UInt32(0))
        for module in modules {
            for word in [module.address, module.byteCount, 0, 0] { bytes.appendField(word) }
        }
        for entry in map {
            bytes.appendField(entry.address)
            bytes.appendField(entry.byteCount)
            bytes.appendField(entry.kind.rawValue)
            bytes.appendField(UInt32(0))
        }
        return bytes
    }
}

extension GuestAddressSpace {
    func fillWithZeros(at address: GuestAddress, byteCount: Int) throws {
        guard byteCount > 0 else { return }
        let slice = try slice(at: address, byteCount: byteCount, forWriting: true)
        slice.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        slice.markDirty()
    }
}
