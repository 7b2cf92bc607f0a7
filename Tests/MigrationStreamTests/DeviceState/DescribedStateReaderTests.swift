import MigrationStream
import Testing

@Suite("State read by the stream's description") struct DescribedStateReaderTests {
    @Test(arguments: Fixtures.sections.filter { $0.descriptionFile != nil })
    func `of every QEMU section encodes to the same bytes`(section: FixtureSection) throws {
        let description = try #require(try section.description)
        let values = try DescribedStateReader.values(of: section.payload, describedBy: description)
        #expect(values.encoded == section.payload)
        #expect(values.structureDescription == description.structure)
        #expect(values.differences(from: values).isEmpty)
    }

    @Test func `names the fields and gives their values`() throws {
        let description = try Fixtures.description("q35.json")
        let section = try #require(Fixtures.sections.first { $0.stream == "q35" && $0.idstr.hasSuffix("ich9_ahci") })
        let device = try #require(description.device(named: section.idstr, instance: 0))
        let values = try DescribedStateReader.values(of: section.payload, describedBy: device)
        guard case .structure(let ahci)? = values.field("ahci")?.value else {
            Issue.record("ahci is no structure")
            return
        }
        #expect(ahci.fields.count { $0.name == "dev" } == 6)
        #expect(ahci.field("dev", index: 5) != nil)
        #expect(ahci.field("control_regs.impl")?.value == .unsigned(0x3F))
    }

    @Test func `tells subsections that are there from others`() throws {
        let description = try #require(
            try Fixtures.description("microvm-smp2-virtio-modern.json").device(named: "apic", instance: 1))
        let section = try #require(
            Fixtures.sections.first { $0.stream == "microvm-smp2-virtio-modern" && $0.idstr == "apic" })
        let values = try DescribedStateReader.values(of: section.payload, describedBy: description)
        #expect(values.subsection("apic_sipi")?.field("wait_for_sipi")?.value == .signed(1))
        let without = try DescribedStateReader.values(of: Array(section.payload.prefix(181)), describedBy: description)
        #expect(without.subsections.isEmpty)
        #expect(
            values.differences(from: without) == [
                StateDifference(path: "apic_sipi", left: "present", right: nil)
            ])
    }

    @Test func `is refused with every byte accounted for`() throws {
        let device = DeviceDescription(
            name: "d", instanceID: 0,
            structure: StructureDescription(
                name: "d", version: 1,
                fields: [
                    FieldDescription(
                        name: "s", type: "struct", byteCount: 3,
                        structure: StructureDescription(
                            name: "s", version: 1, fields: [FieldDescription(name: "x", type: "uint16", byteCount: 2)]))
                ]))
        #expect(throws: StateError.sizeMismatch(field: "d/s", described: 3, found: 2, offset: 0)) {
            try DescribedStateReader.values(of: [1, 2, 3], describedBy: device)
        }
        var right = device
        right.structure.fields[0].byteCount = 2
        #expect(throws: StateError.trailingBytes(structure: "d", offset: 2, count: 1)) {
            try DescribedStateReader.values(of: [1, 2, 3], describedBy: right)
        }
        #expect(throws: StateError.truncated(field: "d/s/x", offset: 0, missing: 1)) {
            try DescribedStateReader.values(of: [1], describedBy: right)
        }
        #expect(throws: StateError.unknownSubsection("d/x", structure: "d", offset: 2)) {
            try DescribedStateReader.values(of: [1, 2, 5, 3] + Array("d/x".utf8), describedBy: right)
        }
    }

    @Test func `is refused when the description asks for more values than bytes`() {
        func device(_ field: FieldDescription) -> DeviceDescription {
            DeviceDescription(
                name: "d", instanceID: 0, structure: StructureDescription(name: "d", version: 1, fields: [field]))
        }
        #expect(throws: StateError.invalidDescription(path: "d/a", explanation: "its elements have no size")) {
            let field = FieldDescription(name: "a", type: "buffer", byteCount: 0, elementCount: Int.max)
            _ = try DescribedStateReader.values(of: [], describedBy: device(field))
        }
        #expect(throws: StateError.truncated(field: "d/a", offset: 0, missing: Int.max)) {
            let field = FieldDescription(name: "a", type: "uint64", byteCount: 8, elementCount: Int.max)
            _ = try DescribedStateReader.values(of: [1], describedBy: device(field))
        }
        // A million elements that each hold ten fields without a byte.
        let empty = (0..<10).map { FieldDescription(name: "\($0)", type: "buffer", byteCount: 0) }
        let byte = FieldDescription(name: "b", type: "uint8", byteCount: 1)
        let field = FieldDescription(
            name: "a", type: "struct", byteCount: 1, elementCount: 1 << 20,
            structure: StructureDescription(name: "s", version: 1, fields: [byte] + empty))
        #expect(throws: StateError.self) {
            _ = try DescribedStateReader.values(of: [UInt8](repeating: 0, count: 1 << 20), describedBy: device(field))
        }
    }
}
