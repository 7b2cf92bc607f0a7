import Foundation
import LinuxSystem
import MigrationStream
import StreamTools
import Testing

@Suite("Extracting memory") struct ExtractTests {
    private func extract(_ bytes: [UInt8], block: String = "ram", in workspace: Workspace) throws -> [UInt8] {
        let path = try workspace.write(bytes, as: "stream")
        _ = try BlockExtractor.extract(block: block, of: StreamSource(path), to: workspace.path("memory"))
        return try workspace.read("memory")
    }

    private func memory(_ pages: [Int: [UInt8]], pageCount: Int = 16) -> [UInt8] {
        (0..<pageCount).flatMap { pages[$0] ?? [UInt8](repeating: 0, count: 4096) }
    }

    @Test func `gives the last version of each page, and zeros where none came`() throws {
        let stream = SmallStream(
            firstPass: [.plain("ram", 1, 1), .plain("ram", 2, 2), .plain("ram", 3, 3), .plain("rom", 0, 9)],
            secondPass: [.plain("ram", 2, 22), .zero("ram", 3), .plain("ram", 15, 15)])
        let expected = memory([1: SmallStream.page(1), 2: SmallStream.page(22), 15: SmallStream.page(15)])
        #expect(try extract(stream.bytes, in: Workspace()) == expected)
        #expect(try extract(stream.bytes, block: "rom", in: Workspace()).count == 4 * 4096)
    }

    @Test func `applies XBZRLE updates to what was there`() throws {
        // Leave 2 bytes, write 3, leave 0x80 (two bytes of length), write 1.
        let update: [UInt8] = [2, 3, 0xA0, 0xA1, 0xA2, 0x80, 0x01, 1, 0xB0]
        let stream = SmallStream(
            firstPass: [.plain("ram", 1, 1), .plain("ram", 2, 2)], secondPass: [.delta("ram", 1, update)])
        var page = SmallStream.page(1)
        page.replaceSubrange(2..<5, with: [0xA0, 0xA1, 0xA2])
        page[5 + 0x80] = 0xB0
        #expect(try extract(stream.bytes, in: Workspace()) == memory([1: page, 2: SmallStream.page(2)]))
    }

    @Test func `a page of zeros takes no space, also after one that was not`() throws {
        let workspace = try Workspace()
        let stream = SmallStream(
            firstPass: [.plain("ram", 1, 1), .plain("ram", 4, 0), .plain("ram", 5, 5)], secondPass: [.zero("ram", 1)])
        let path = try workspace.write(stream.bytes, as: "stream")
        let report = try BlockExtractor.extract(block: "ram", of: StreamSource(path), to: workspace.path("memory"))
        #expect(report.byteCount == 16 * 4096)
        #expect(report.dataByteCount == 4096)
        #expect(try workspace.read("memory") == memory([5: SmallStream.page(5)]))
    }

    @Test(arguments: [MultifdCompression.none, .zlib, .zstd])
    func `brings multifd channels in step by their syncs`(compression: MultifdCompression) throws {
        let workspace = try Workspace()
        let recording = try MultifdRecording(compression: compression)
        try FileManager.default.createDirectory(atPath: workspace.path("all"), withIntermediateDirectories: true)
        try workspace.write(recording.main, as: "all/ch0.c2s")
        // The order in which channels connected is not their number.
        try workspace.write(recording.channels[1], as: "all/ch1.c2s")
        try workspace.write(recording.channels[0], as: "all/ch2.c2s")
        _ = try BlockExtractor.extract(
            block: "ram", of: StreamSource(workspace.path("all")), to: workspace.path("memory"))
        #expect(try workspace.read("memory") == memory(MultifdRecording.pages))
    }

    @Test(arguments: [
        ("microvm-kvm.mig", "microvm.ram"), ("microvm-membackend.mig", "mem0"), ("q35.mig", "pc.ram"),
        ("compress.ch0.c2s", "microvm.ram"), ("postcopy-early.ch0.c2s", "microvm.ram"),
    ])
    func `gives the pages that QEMU sent`(name: String, block: String) throws {
        let memory = try extract(Fixture.load(name), block: block, in: Workspace())
        #expect(memory.count == 64 << 20)
        // The pattern at 1 MiB: 40 pages, every fifth of zeros.
        for page in 0..<40 {
            let offset = 0x100000 + page * 4096
            let expected =
                page % 5 == 3 ? [UInt8](repeating: 0, count: 4096) : Fixture.page(of: block, at: offset)
            #expect(Array(memory[offset..<(offset + 4096)]) == expected, "page \(page)")
        }
    }

    @Test func `a block that is not there is refused with the names of those that are`() throws {
        let error = #expect(throws: NoSuchBlock.self) {
            try extract(SmallStream().bytes, block: "vga", in: Workspace())
        }
        #expect(error?.description == "It has no block vga; it has ram, rom.")
    }

    @Test func `a channel without memory is refused`() throws {
        let workspace = try Workspace()
        try FileManager.default.createDirectory(atPath: workspace.path("all"), withIntermediateDirectories: true)
        try workspace.write(Fixture.load("uuid-multifd.ch1.c2s"), as: "all/ch0.c2s")
        #expect(throws: NoMainChannel.self) { try StreamSource(workspace.path("all")) }
        #expect(throws: MemoryElsewhere.self) { try extract(Fixture.load("returnpath.ch0.s2c"), in: workspace) }
    }
}

@Suite("Comparing streams") struct DiffTests {
    private let first = SmallStream(firstPass: [.plain("ram", 1, 1), .plain("ram", 2, 2), .plain("rom", 0, 3)])

    private func difference(_ left: SmallStream, _ right: SmallStream) throws -> StreamDifference {
        let workspace = try Workspace()
        return try StreamDifference(
            left: StreamSource(workspace.write(left.bytes, as: "left")),
            right: StreamSource(workspace.write(right.bytes, as: "right")), temporaryFolder: workspace.folder)
    }

    @Test func `streams that tell the same guest in other records are the same`() throws {
        let second = SmallStream(
            firstPass: [.zero("ram", 9), .plain("rom", 0, 3), .plain("ram", 2, 7), .plain("ram", 1, 1)],
            secondPass: [.plain("ram", 2, 2), .plain("ram", 10, 0)])
        let found = try difference(first, second)
        #expect(found.isEmpty)
        #expect(found.text == "")
    }

    @Test func `pages that differ are told as runs`() throws {
        let second = SmallStream(
            firstPass: [
                .plain("ram", 1, 1), .plain("ram", 2, 9), .plain("ram", 3, 9), .plain("ram", 15, 9),
                .plain("rom", 0, 3),
            ])
        let found = try difference(first, second)
        #expect(found.blocks.map(\.name) == ["ram"])
        #expect(found.blocks.first?.pageCount == 3)
        #expect(found.blocks.first?.ranges == [0x2000..<0x4000, 0xF000..<0x10000])
        #expect(found.text.contains("0x2000..<0x4000, 2 pages"))
    }

    @Test func `fields that differ are told by name with both values`() throws {
        var second = first
        second.clock = 77
        let found = try difference(first, second)
        #expect(found.blocks.isEmpty)
        #expect(
            found.devices.first?.fields == [StateDifference(path: "cpu_clock_offset", left: "1", right: "77")])
        #expect(found.text.contains("    < 1\n    > 77\n"))
    }

    @Test func `machines that differ are told`() throws {
        var second = first
        second.machine = "pc"
        #expect(try difference(first, second).machines ?? ("", "") == ("microvm", "pc"))
    }

    @Test func `a stream that cannot be read is told with its name`() throws {
        let workspace = try Workspace()
        let left = try workspace.write(first.bytes, as: "left")
        let right = try workspace.write(Array(first.bytes.dropLast(400)), as: "right")
        let error = #expect(throws: SideError.self) {
            try StreamDifference(
                left: StreamSource(left), right: StreamSource(right), temporaryFolder: workspace.folder)
        }
        #expect(error?.path == right)
    }
}
