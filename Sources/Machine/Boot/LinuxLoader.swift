internal import GuestMemory

/// The set-up header of a Linux bzImage: see Documentation/arch/x86/boot.rst of the kernel.
struct LinuxHeader {
    /// The first sectors of the image, as far as the header reaches.
    let bytes: [UInt8]

    static let start = 0x1F1
    /// As much as any version of the header needs.
    private static let byteCount = 0x280

    /// Whether the image has the header's two marks.
    static func isPresent(in image: ImageFile) throws -> Bool {
        guard image.byteCount >= UInt64(0x206) else { return false }
        let bytes = try image.bytes("header", at: 0, count: 0x206)
        return bytes.field(UInt16.self, at: 0x1FE) == 0xAA55 && Array(bytes[0x202..<0x206]) == Array("HdrS".utf8)
    }

    init(_ image: ImageFile) throws {
        bytes = try image.bytes("set-up header", at: 0, count: UInt64(Self.byteCount))
        guard version >= 0x020C, bytes.field(UInt16.self, at: 0x236) & 1 == 1 else {
            throw BootError.unsupported(
                file: image.name, "its boot protocol is \(version >> 8).\(version & 0xFF) and has no 64-bit entry")
        }
        guard bytes[0x211] & 1 == 1 else {
            throw BootError.unsupported(file: image.name, "it is to be loaded below 1 MiB")
        }
        guard end > 0x264, end <= Self.byteCount else {
            throw BootError.invalid(file: image.name, field: "header length", value: UInt64(end))
        }
    }

    var version: UInt16 { bytes.field(UInt16.self, at: 0x206) }
    /// One past the last byte of the header.
    var end: Int { 0x202 + Int(bytes[0x201]) }
    /// Where the 64-bit kernel is in the file. No number of set-up sectors means four.
    var kernelOffset: UInt64 { (UInt64(bytes[0x1F1] == 0 ? 4 : bytes[0x1F1]) + 1) * 512 }
    var initialRAMDiskLimit: UInt64 { UInt64(bytes.field(UInt32.self, at: 0x22C)) }
    var commandLineLimit: Int { Int(bytes.field(UInt32.self, at: 0x238)) }
    var preferredAddress: UInt64 { bytes.field(UInt64.self, at: 0x258) }
    /// The memory the kernel uses from its address on before it looks at the memory map.
    var initialByteCount: UInt64 { UInt64(bytes.field(UInt32.self, at: 0x260)) }
}

extension KernelLoader {
    /// Loads a bzImage, to be entered in 64-bit mode.
    func loadLinux(
        _ kernel: ImageFile, _ initialRAMDisk: ImageFile?, _ commandLine: String, _ rsdp: UInt64
    ) throws -> BootEntry {
        let header = try LinuxHeader(kernel)
        guard header.kernelOffset < kernel.byteCount else {
            throw BootError.truncated(
                file: kernel.name, what: "kernel", offset: header.kernelOffset, byteCount: 1,
                fileByteCount: kernel.byteCount)
        }
        let kernelByteCount = kernel.byteCount - header.kernelOffset
        // It is loaded at 1 MiB and unpacks itself to its preferred address, using all of its initial size there.
        try load("the kernel", of: kernel, at: header.kernelOffset, count: kernelByteCount, to: BootPlace.kernel)
        let (end, overflows) = header.preferredAddress.addingReportingOverflow(header.initialByteCount)
        guard !overflows, end <= UInt64(layout.lowMemoryByteCount) else {
            throw BootError.noRoom(
                what: "the unpacked kernel", address: header.preferredAddress, byteCount: header.initialByteCount,
                limit: UInt64(layout.lowMemoryByteCount))
        }
        var ramDiskAddress: UInt64 = 0
        if let initialRAMDisk {
            ramDiskAddress = try loadInitialRAMDisk(
                initialRAMDisk, above: max(end, BootPlace.kernel + kernelByteCount),
                below: header.initialRAMDiskLimit + 1)
        }
        try writeCommandLine(commandLine, limit: header.commandLineLimit)
        let page = bootParameters(
            header, ramDisk: (ramDiskAddress, initialRAMDisk?.byteCount ?? 0), rsdp: rsdp)
        try memory.write(page, at: GuestAddress(BootPlace.bootParameters))
        return .long(address: BootPlace.kernel + 0x200, parameters: BootPlace.bootParameters)
    }

    /// The "zero page": the image's own header with what a boot loader has to say.
    ///
    /// offset  size  field
    ///  0x070     8  address of the ACPI tables' root
    ///  0x1E8     1  entries of the memory map, 20 bytes each from 0x2D0 on
    ///  0x1F1        the set-up header: 0x1FA video mode, 0x210 loader, 0x218 RAM disk, 0x21C its size,
    ///               0x228 command line
    private func bootParameters(
        _ header: LinuxHeader, ramDisk: (address: UInt64, byteCount: UInt64), rsdp: UInt64
    ) -> [UInt8] {
        var page = [UInt8](repeating: 0, count: pageSize)
        page.replaceSubrange(LinuxHeader.start..<header.end, with: header.bytes[LinuxHeader.start..<header.end])
        page.setField(rsdp, at: 0x070)
        let normalVideoMode: UInt16 = 0xFFFF
        page.setField(normalVideoMode, at: 0x1FA)
        let unknownLoader: UInt8 = 0xFF
        page[0x210] = unknownLoader
        page.setField(UInt32(ramDisk.address), at: 0x218)
        page.setField(UInt32(ramDisk.byteCount), at: 0x21C)
        page.setField(UInt32(BootPlace.commandLine), at: 0x228)
        let map = layout.memoryMap
        page[0x1E8] = UInt8(map.count)
        for (index, entry) in map.enumerated() {
            page.setField(entry.address, at: 0x2D0 + index * 20)
            page.setField(entry.byteCount, at: 0x2D0 + index * 20 + 8)
            page.setField(entry.kind.rawValue, at: 0x2D0 + index * 20 + 16)
        }
        return page
    }
}
