import MigrationStream
import Testing

@Suite("Typed device state") struct TypedStateTests {
    @Test(arguments: Fixtures.typedSections)
    func `saves the bytes that were loaded`(section: FixtureSection) throws {
        var device = try #require(DeviceStateCatalog.device(for: section.idstr))
        try device.load(section.payload, version: section.version)
        #expect(device.encoded() == section.payload)
        #expect(device.save().bytes == section.payload)
        #expect(device.byteCount == section.payload.count)
        #expect(device.values.encoded == section.payload)
    }

    @Test(arguments: Fixtures.typedSections.filter { $0.descriptionFile != nil })
    func `describes itself as QEMU does`(section: FixtureSection) throws {
        var device = try #require(DeviceStateCatalog.device(for: section.idstr))
        try device.load(section.payload, version: section.version)
        let description = try #require(try section.description)
        #expect(device.save().structure == description.structure)
    }

    @Test(arguments: Fixtures.typedSections.filter { $0.descriptionFile != nil && !$0.idstr.contains("virtio") })
    func `has the values that QEMU's description names`(section: FixtureSection) throws {
        let described = try DescribedStateReader.values(
            of: section.payload, describedBy: try #require(try section.description))
        let typed = try DeviceStateCatalog.values(
            of: section.idstr, version: section.version, section.payload)
        #expect(typed == described)
    }

    @Test func `writes the description of a whole machine to the letter`() throws {
        let expected = try Fixtures.description("microvm-kvm.json")
        let sections = Fixtures.sections.filter { ["microvm", "microvm-kvm"].contains($0.stream) }
        var built = VMDescription()
        for described in expected.devices {
            let section = try #require(
                sections.last { $0.idstr == described.name && $0.instance == described.instanceID })
            var device = try #require(DeviceStateCatalog.device(for: section.idstr))
            try device.load(section.payload, version: section.version)
            built.devices.append(
                DeviceDescription(
                    name: section.idstr, instanceID: section.instance, structure: device.save().structure))
        }
        #expect(VMDescriptionWriter(built).utf8 == Fixtures.text("microvm-kvm.json"))
    }

    /// What QEMU's reset leaves to the machine: the processor's signature, times, memory sizes, KVM's frequency.
    @Test(arguments: Fixtures.typedSections.filter { ["microvm", "microvm-kvm"].contains($0.stream) })
    func `is fresh what it is after reset in QEMU`(section: FixtureSection) throws {
        let fresh = try #require(DeviceStateCatalog.device(for: section.idstr))
        let values = try DeviceStateCatalog.values(of: section.idstr, version: section.version, section.payload)
        let chosenByTheMachine = [
            "apic": ["count_shift"],
            "cpu": ["env.regs[2]", "env.tsc", "cpu/poll_control_msr", "cpu/tsc_khz", "env.dr[4]", "env.dr[5]"]
                + (0..<8).map { "env.mtrr_var[\($0)]/mask" },
            "fw_cfg": ["fw_cfg/acpi_mr"],
            "globalstate": ["size", "runstate+0"],
            "i8254": ["channels[0]/next_transition_time", "channels[0].next_transition_time"],
            "kvmclock": ["clock"],
            "mc146818rtc": ["cmos_data+0", "base_rtc", "last_update", "update_timer", "next_alarm_time"],
        ]
        let differences = values.differences(from: fresh.values).map(\.path)
        #expect(Set(differences).subtracting(chosenByTheMachine[section.idstr] ?? []) == [])
    }

    @Test func `covers every device of microvm in the samples`() {
        let known = Set(Fixtures.typedSections.map(\.idstr))
        let ofMicrovm = Fixtures.sections.filter { $0.stream != "q35" && $0.idstr != "slirp" }
        #expect(Set(ofMicrovm.map(\.idstr)) == known.filter { name in ofMicrovm.contains { $0.idstr == name } })
        #expect(known.count >= 20)
    }

    @Test(arguments: Fixtures.distinctSections)
    func `is refused when it is cut short, and keeps what it was`(section: FixtureSection) throws {
        let fresh = try #require(DeviceStateCatalog.device(for: section.idstr))
        let before = fresh.encoded()
        for count in 0..<section.payload.count {
            var device = fresh
            let short = Array(section.payload.prefix(count))
            do {
                try device.load(short, version: section.version)
                // What is left may be a whole section: then it ends before a subsection.
                #expect(section.payload[count] == 5)
                #expect(device.encoded().count <= section.payload.count)
            } catch {
                #expect(device.encoded() == before)
            }
        }
    }

    @Test(arguments: Fixtures.distinctSections)
    func `gives a value or an error for every changed bit`(section: FixtureSection) throws {
        let fresh = try #require(DeviceStateCatalog.device(for: section.idstr))
        let description = try section.description
        var payload = section.payload
        // All bits of a short section, another one of each byte of a long one.
        let step = payload.count <= 300 ? 1 : 9
        for bit in stride(from: 0, to: payload.count * 8, by: step) {
            payload[bit / 8] ^= 1 << UInt8(bit % 8)
            defer { payload[bit / 8] ^= 1 << UInt8(bit % 8) }
            var device = fresh
            if (try? device.load(payload, version: section.version)) != nil {
                let saved = device.encoded()
                var again = fresh
                try again.load(saved, version: device.save().version)
                #expect(again.encoded() == saved)
            }
            guard let description else { continue }
            if let values = try? DescribedStateReader.values(of: payload, describedBy: description) {
                #expect(values.encoded == payload)
            }
        }
    }

    @Test(arguments: [UInt64](1...8))
    func `gives a value or an error for random changes of long sections`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        for section in Fixtures.typedSections where section.payload.count >= 3000 {
            var payload = section.payload
            for _ in 0..<4 {
                payload[Int.random(in: 0..<payload.count, using: &random)] = .random(in: 0...255, using: &random)
            }
            payload.removeLast(Int.random(in: 0..<payload.count, using: &random) / 2)
            var device = try #require(DeviceStateCatalog.device(for: section.idstr))
            if (try? device.load(payload, version: section.version)) != nil {
                #expect(device.encoded().count <= 2 * section.payload.count)
            }
        }
    }
}

extension Fixtures {
    /// The sections of devices that have a typed description.
    static let typedSections = sections.filter { DeviceStateCatalog.device(for: $0.idstr) != nil }

    /// A section of each length and device, up to 3000 bytes.
    static let distinctSections: [FixtureSection] = {
        var seen: Set<String> = []
        return typedSections.filter {
            $0.payload.count < 3000 && seen.insert("\($0.idstr) \($0.payload.count)").inserted
        }
    }()
}
