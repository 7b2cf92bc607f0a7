internal import Devices

/// The tables by which a kernel finds its processors, interrupt controllers and devices: hardware-reduced ACPI, as
/// QEMU's microvm has it.
///
///     RSDP -> XSDT -> FADT -> DSDT
///                  -> MADT
///
/// They lie in the guest's RAM below 1 MiB, in the range its memory map keeps for them, and move with it.
struct ACPITables {
    /// The address of the RSDP, by which a kernel finds the rest.
    let address: UInt64
    /// Everything from `address` on.
    let bytes: [UInt8]

    /// What the tables tell of.
    struct Contents: Equatable {
        var virtualCPUCount: Int
        /// The transports that have devices, in the order of the configuration.
        var transports: [Int]
        var hasClock: Bool
    }

    /// Makes the tables for the place they will be at.
    ///
    /// - Precondition: `address` is a multiple of 16.
    init(_ contents: Contents, at address: UInt64 = BootPlace.acpiTables) {
        precondition(address % 16 == 0, "tables at \(address)")
        self.address = address
        var bytes = [UInt8](repeating: 0, count: 48)
        /// Adds a table at the next multiple of 16 and returns its address.
        func append(_ table: [UInt8]) -> UInt64 {
            bytes += [UInt8](repeating: 0, count: (16 - bytes.count % 16) % 16)
            defer { bytes += table }
            return address + UInt64(bytes.count)
        }
        let dsdt = append(Self.differentiated(contents))
        let fadt = append(Self.fixed(dsdt: dsdt, hasClock: contents.hasClock))
        let madt = append(Self.interruptControllers(contents.virtualCPUCount))
        let xsdt = append(
            Self.table("XSDT", revision: 1, AML.littleEndian(fadt, 8) + AML.littleEndian(madt, 8)))
        bytes.replaceSubrange(0..<36, with: Self.root(xsdt: xsdt))
        precondition(
            UInt64(bytes.count) <= BootPlace.acpiLimit - BootPlace.acpiTables, "\(bytes.count) bytes of ACPI tables")
        self.bytes = bytes
    }

    // MARK: Tables

    /// RSDP: signature, checksum of 20 bytes, OEM, revision 2, RSDT, length, XSDT, checksum of all, reserved.
    private static func root(xsdt: UInt64) -> [UInt8] {
        var bytes = Array("RSD PTR ".utf8) + [0] + Array("APUS  ".utf8) + [2]
        bytes += AML.littleEndian(0, 4) + AML.littleEndian(36, 4) + AML.littleEndian(xsdt, 8) + [0, 0, 0, 0]
        bytes[8] = checksum(bytes[..<20])
        bytes[32] = checksum(bytes[...])
        return bytes
    }

    /// FADT, revision 5: a machine without the fixed hardware of old, reset and turned off by the event device.
    private static func fixed(dsdt: UInt64, hasClock: Bool) -> [UInt8] {
        var body = [UInt8](repeating: 0, count: 268 - 36)
        /// Offsets are those of the whole table.
        func set(_ value: UInt64, _ byteCount: Int, at offset: Int) {
            body.replaceSubrange(offset - 36..<offset - 36 + byteCount, with: AML.littleEndian(value, byteCount))
        }
        /// A generic address: system memory, 8 bits wide.
        func setRegister(_ address: UInt64, at offset: Int) {
            set(0x0800, 4, at: offset)
            set(address, 8, at: offset + 4)
        }
        set(dsdt, 4, at: 40)
        let noClock: UInt64 = 1 << 5
        set(hasClock ? 0 : noClock, 2, at: 109)
        let resetRegisterSupported: UInt64 = 1 << 10
        let hardwareReduced: UInt64 = 1 << 20
        set(resetRegisterSupported | hardwareReduced, 4, at: 112)
        setRegister(GenericEventDevice.sleepAddress + 2, at: 116)
        set(UInt64(GenericEventDevice.resetValue), 1, at: 128)
        set(dsdt, 8, at: 140)
        setRegister(GenericEventDevice.sleepAddress, at: 244)
        setRegister(GenericEventDevice.sleepAddress + 1, at: 256)
        return table("FACP", revision: 5, body)
    }

    /// MADT: a LAPIC for each virtual CPU, one IOAPIC, the timer's interrupt on pin 2, NMI on LINT1.
    private static func interruptControllers(_ virtualCPUCount: Int) -> [UInt8] {
        let hasPICs: UInt64 = 1
        var body = AML.littleEndian(MachineLayout.localAPICAddress, 4) + AML.littleEndian(hasPICs, 4)
        for index in 0..<virtualCPUCount {
            // Type 0 holds identifiers up to 254; the machine has at most 64.
            body += [0, 8, UInt8(index), UInt8(index), 1, 0, 0, 0]
        }
        body += [1, 12, 0, 0] + AML.littleEndian(MachineLayout.ioAPICAddress, 4) + AML.littleEndian(0, 4)
        body += [2, 10, 0, 0] + AML.littleEndian(2, 4) + [0, 0]
        body += [4, 6, 0xFF, 0, 0, 1]
        return table("APIC", revision: 1, body)
    }

    /// DSDT: the serial port, the clock, the event device with the power button, a device per transport in use, S5.
    private static func differentiated(_ contents: Contents) -> [UInt8] {
        var devices: [AML.Term] = [serialPort]
        if contents.hasClock { devices.append(clock) }
        devices += [eventDevice, powerButton]
        devices += contents.transports.map(transport)
        let softOff = AML.integer(UInt64(GenericEventDevice.softOffType))
        let zero = AML.integer(0)
        return table(
            "DSDT", revision: 2,
            AML.scope("\\_SB", Array(devices.joined())) + AML.name("\\_S5", AML.package([softOff, zero, zero, zero])))
    }

    // MARK: Devices

    private static var serialPort: AML.Term {
        AML.device(
            "COM1", AML.name("_HID", AML.eisaID("PNP0501")), AML.name("_UID", AML.integer(1)),
            AML.name("_STA", AML.integer(0x0F)),
            AML.name(
                "_CRS",
                AML.resources(
                    AML.ports(at: MachineLayout.serialPort, byteCount: UInt8(SerialPort.byteCount)),
                    AML.isaInterrupt(MachineLayout.serialInterrupt))))
    }

    private static var clock: AML.Term {
        AML.device(
            "RTC", AML.name("_HID", AML.eisaID("PNP0B00")),
            AML.name(
                "_CRS",
                AML.resources(
                    AML.ports(at: MachineLayout.clockPort, byteCount: 8),
                    AML.isaInterrupt(MachineLayout.clockInterrupt))))
    }

    private static var eventDevice: AML.Term {
        let powerButton = AML.integer(UInt64(GenericEventDevice.powerButtonEvent))
        return AML.device(
            "GED", AML.name("_HID", AML.string("ACPI0013")), AML.name("_UID", AML.string("GED")),
            AML.name("_CRS", AML.resources(AML.interrupt(MachineLayout.eventInterrupt, isEdge: true))),
            AML.memoryRegion(
                "EREG", at: GenericEventDevice.eventAddress, byteCount: GenericEventDevice.eventByteCount),
            AML.field32("ESEL", in: "EREG"),
            AML.method(
                "_EVT", argumentCount: 1, isSerialized: true,
                AML.store(AML.path("ESEL"), in: AML.local0),
                AML.when(
                    AML.equal(AML.and(AML.local0, powerButton), powerButton), AML.notify("PWRB", 0x80))))
    }

    private static var powerButton: AML.Term {
        AML.device("PWRB", AML.name("_HID", AML.string("PNP0C0C")), AML.name("_UID", AML.integer(0)))
    }

    private static func transport(_ index: Int) -> AML.Term {
        AML.device(
            "VR0\(index)", AML.name("_HID", AML.string("LNRO0005")), AML.name("_UID", AML.integer(UInt64(index))),
            AML.name("_CCA", AML.integer(1)),
            AML.name(
                "_CRS",
                AML.resources(
                    AML.memory32(
                        at: MachineLayout.address(ofTransport: index), byteCount: MMIOTransport.byteCount),
                    AML.interrupt(MachineLayout.interrupt(ofTransport: index), isEdge: false))))
    }

    // MARK: Form

    /// A table with its header of 36 bytes.
    private static func table(_ signature: String, revision: UInt8, _ body: [UInt8]) -> [UInt8] {
        var bytes = Array(signature.utf8) + AML.littleEndian(UInt64(36 + body.count), 4) + [revision, 0]
        bytes += Array("APUS  MICROVM ".utf8) + AML.littleEndian(1, 4) + Array("APUS".utf8) + AML.littleEndian(1, 4)
        bytes += body
        bytes[9] = checksum(bytes[...])
        return bytes
    }

    /// The byte that makes the sum of all zero.
    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt8 { 0 &- bytes.reduce(0, &+) }
}
