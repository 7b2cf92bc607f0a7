import MigrationStream
import Testing

@Suite("Device state catalog") struct DeviceStateCatalogTests {
    @Test(arguments: Fixtures.typedSections)
    func `finds the end of every section before its footer`(section: FixtureSection) throws {
        let stream = section.payload + [0x7E, 0, 0, 0, 9, 4]
        let extent = try DeviceStateCatalog.extent(
            of: section.idstr, version: section.version, in: stream.span.bytes)
        #expect(extent == .complete(byteCount: section.payload.count))
    }

    @Test(arguments: Fixtures.distinctSections)
    func `asks for more until the section and its next byte are there`(section: FixtureSection) throws {
        let stream = section.payload + [0x7E]
        var count = 0
        var steps = 0
        while true {
            let extent = try DeviceStateCatalog.extent(
                of: section.idstr, version: section.version, in: stream.span.bytes.extracting(first: count))
            guard case .needsMore(let missing) = extent else {
                #expect(extent == .complete(byteCount: section.payload.count))
                break
            }
            // Never beyond the byte after the section, or a reader would wait for what does not come.
            #expect(missing > 0 && count + missing <= stream.count)
            count += missing
            steps += 1
            if missing <= 0 || count > stream.count { break }
        }
        #expect(count == stream.count)
        #expect(steps > 1)
    }

    @Test func `needs no byte beyond the section if there is none`() throws {
        let payload = [UInt8](repeating: 0, count: 24)
        #expect(
            try DeviceStateCatalog.extent(of: "timer", version: 2, in: payload.span.bytes, isWhole: true)
                == .complete(byteCount: 24))
        #expect(
            try DeviceStateCatalog.extent(of: "timer", version: 2, in: payload.span.bytes) == .needsMore(1))
        #expect(throws: StateError.truncated(field: "timer/cpu_clock_offset", offset: 16, missing: 1)) {
            try DeviceStateCatalog.extent(
                of: "timer", version: 2, in: payload.span.bytes.extracting(first: 23), isWhole: true)
        }
    }

    @Test(arguments: [
        "virtio-blk", "0000:00:02.0/virtio-blk", "virtio-mmio@feb02e00/virtio-blk",
        "virtio-mmio@00000000feb02e00/timer",
        "virtio-mmio@00000000FEB02E00/virtio-blk", "virtio-mmio@00000000feb02e00/x/virtio-blk", "", "/", "mch",
    ])
    func `knows no device by another name`(idstr: String) throws {
        #expect(try DeviceStateCatalog.extent(of: idstr, version: 1, in: [UInt8]().span.bytes) == .unknown)
        #expect(throws: StateError.unknownDevice(idstr, version: 1)) {
            try DeviceStateCatalog.values(of: idstr, version: 1, [])
        }
    }

    @Test func `refuses a version that it does not know`() {
        #expect(throws: StateError.unsupportedVersion(structure: "cpu", found: 13, supported: 11...12, offset: 0)) {
            try DeviceStateCatalog.values(of: "cpu", version: 13, [])
        }
    }

    @Test func `refuses an unknown subsection by name`() throws {
        let name = Array("cpu_common/of_the_future".utf8)
        let payload = [UInt8](repeating: 0, count: 8) + [5, UInt8(name.count)] + name + [0, 0, 0, 1]
        #expect(
            throws: StateError.unknownSubsection("cpu_common/of_the_future", structure: "cpu_common", offset: 8)
        ) {
            try DeviceStateCatalog.values(of: "cpu_common", version: 1, payload)
        }
    }

    @Test func `shows the contents of virtio sections`() throws {
        let section = try #require(
            Fixtures.sections.first { $0.stream == "microvm-acpioff-virtio-legacy" && $0.idstr.hasSuffix("virtio-net") }
        )
        let values = try DeviceStateCatalog.values(of: section.idstr, version: 11, section.payload)
        guard case .structure(let virtio)? = values.field("virtio")?.value else {
            Issue.record("virtio has no contents")
            return
        }
        #expect(virtio.field("mac")?.value == .array([0x52, 0x54, 0, 0x12, 0x34, 0x56].map { .unsigned($0) }))
        #expect(virtio.subsection("virtio/64bit_features")?.field("guest_features")?.value == .unsigned(0))
        #expect(values.text().contains("mac[6] = 0x52 0x54 0 0x12 0x34 0x56"))
        #expect(values.json["virtio"]?["nvqs"] == .integer(3))
    }
}
