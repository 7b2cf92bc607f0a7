import Foundation
import Testing

@testable import Machine

@Suite("ACPI tables") struct ACPITablesTests {
    private let tables = ACPITables(.init(virtualCPUCount: 3, transports: [7, 6], hasClock: false))

    private func table(at address: UInt64) -> [UInt8] {
        let start = Int(address - tables.address)
        let count = Int(tables.bytes.field(UInt32.self, at: start + 4))
        return Array(tables.bytes[start..<start + count])
    }

    /// RSDP, then the tables the XSDT names, then the DSDT the FADT names.
    private var all: [[UInt8]] {
        let xsdt = table(at: tables.bytes.field(UInt64.self, at: 24))
        let named = stride(from: 36, to: xsdt.count, by: 8).map {
            table(at: xsdt.field(UInt64.self, at: $0))
        }
        let dsdt = table(at: named[0].field(UInt64.self, at: 140))
        return [xsdt] + named + [dsdt]
    }

    private func signature(_ table: [UInt8]) -> String {
        String(decoding: table.prefix(4), as: UTF8.self)
    }

    @Test func `every table is found from the root and its bytes add up to zero`() {
        #expect(String(decoding: tables.bytes.prefix(8), as: UTF8.self) == "RSD PTR ")
        #expect(tables.bytes.prefix(20).reduce(0, &+) == 0)
        #expect(tables.bytes.prefix(36).reduce(0, &+) == 0)
        #expect(all.map(signature) == ["XSDT", "FACP", "APIC", "DSDT"])
        #expect(all.allSatisfy { $0.reduce(0, &+) == 0 })
    }

    @Test func `the tables lie in the range the memory map keeps for them`() {
        let end = tables.address + UInt64(tables.bytes.count)
        #expect(tables.address % 16 == 0)
        let map = MachineLayout(ramByteCount: 64 << 20).memoryMap
        #expect(
            map.contains {
                $0.kind == .acpiNonVolatile && $0.address <= tables.address
                    && end <= $0.address + $0.byteCount
            })
    }

    @Test func `there is a LAPIC for each virtual CPU, one IOAPIC, and the timer is on pin 2`() {
        let madt = all[2]
        var entries: [[UInt8]] = []
        var offset = 44
        while offset < madt.count {
            entries.append(Array(madt[offset..<offset + Int(madt[offset + 1])]))
            offset += Int(madt[offset + 1])
        }
        #expect(entries.filter { $0[0] == 0 }.map { $0[3] } == [0, 1, 2])
        #expect(entries.filter { $0[0] == 1 }.map { $0.field(UInt32.self, at: 4) } == [0xFEC0_0000])
        #expect(entries.filter { $0[0] == 2 } == [[2, 10, 0, 0, 2, 0, 0, 0, 0, 0]])
    }

    @Test func `a machine of 64 virtual CPUs and eight devices fits`() {
        let large = ACPITables(.init(virtualCPUCount: 64, transports: Array(0..<8), hasClock: true))
        #expect(large.bytes.count < 0x1_0000)
    }

    @Test(
        .enabled(
            if: FileManager.default.isExecutableFile(atPath: "/usr/bin/iasl"),
            "iasl (acpica-tools) is not installed"))
    func `iasl reads the DSDT as what was meant`() throws {
        let folder = FileManager.default.temporaryDirectory.appending(
            path: "apus-acpi-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for table in all {
            try Data(table).write(to: folder.appending(path: signature(table) + ".dat"))
        }
        var texts: [String: String] = [:]
        for name in ["DSDT", "FACP", "APIC"] {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/iasl")
            process.arguments = ["-d", name + ".dat"]
            process.currentDirectoryURL = folder
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            #expect(process.terminationStatus == 0)
            let text = try String(contentsOf: folder.appending(path: name + ".dsl"), encoding: .utf8)
            #expect(!text.contains("Incorrect checksum") && !text.contains("Error"), "\(text)")
            texts[name] = text
        }
        let dsdt = try #require(texts["DSDT"])
        for expected in [
            "Name (_HID, EisaId (\"PNP0501\")", "Name (_HID, \"ACPI0013\"", "Name (_HID, \"PNP0C0C\"",
            "Device (VR07)", "Device (VR06)", "0xFEB00E00,", "0xFEB00C00,", "0x00000017,", "0x00000016,",
            "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive",
            "Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive",
            "OperationRegion (EREG, SystemMemory, 0xFEA00000, 0x04)", "Method (_EVT, 1, Serialized)",
            "Notify (PWRB, 0x80)", "Name (\\_S5, Package (0x04)",
        ] {
            #expect(dsdt.contains(expected), "\(expected) is not in\n\(dsdt)")
        }
        #expect(!dsdt.contains("Device (VR05)") && !dsdt.contains("PNP0B00"))
        let fadt = try #require(texts["FACP"])
        #expect(
            fadt.contains("Hardware Reduced (V5) : 1")
                && fadt.contains("Reset Register Supported (V2) : 1"))
        #expect(fadt.contains("00000000FEA00202") && fadt.contains("CMOS RTC Not Present (V5) : 1"))
    }
}
