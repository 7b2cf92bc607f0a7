/// Which frames a network card takes: what the driver sets over the control queue.
struct ReceiveFilter: Equatable, Sendable {
    static let addressLimit = 64

    var isPromiscuous = true
    var takesAllMulticast = false
    var takesAllUnicast = false
    var refusesMulticast = false
    var refusesUnicast = false
    var refusesBroadcast = false
    /// 6 bytes each.
    var unicast: [[UInt8]] = []
    var multicast: [[UInt8]] = []
    var unicastOverflows = false
    var multicastOverflows = false
    /// A bit per VLAN, 32 to a little-endian word.
    var vlans = [UInt8](repeating: 0xFF, count: 512)

    /// Whether the frame, without its virtio header, is for the card with address `mac`.
    func takes(_ frame: UnsafeRawBufferPointer, mac: [UInt8]) -> Bool {
        if isPromiscuous { return true }
        guard frame.count >= 14 else { return false }
        if frame[12] == 0x81, frame[13] == 0, frame.count >= 16 {
            let vlan = (Int(frame[14]) << 8 | Int(frame[15])) & 0xFFF
            if vlans[vlan >> 3] >> UInt8(vlan & 7) & 1 == 0 { return false }
        }
        let destination = Array(frame[..<6])
        if destination[0] & 1 == 1 {
            if destination.allSatisfy({ $0 == 0xFF }) { return !refusesBroadcast }
            if refusesMulticast { return false }
            return takesAllMulticast || multicastOverflows || multicast.contains(destination)
        }
        if refusesUnicast { return false }
        return takesAllUnicast || unicastOverflows || destination == mac || unicast.contains(destination)
    }

    /// Does a command of class 0 (receive modes) with its one byte.
    mutating func setMode(_ command: UInt8, _ isOn: Bool) -> Bool {
        switch command {
        case 0: isPromiscuous = isOn
        case 1: takesAllMulticast = isOn
        case 2: takesAllUnicast = isOn
        case 3: refusesMulticast = isOn
        case 4: refusesUnicast = isOn
        case 5: refusesBroadcast = isOn
        default: return false
        }
        return true
    }

    /// Takes over both tables: each a count u32 and that many addresses.
    mutating func setTables(_ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        guard let unicast = Self.table(&rest), let multicast = Self.table(&rest), rest.isEmpty else { return false }
        let fitsUnicast = unicast.count <= Self.addressLimit
        let fitsMulticast = unicast.count * (fitsUnicast ? 1 : 0) + multicast.count <= Self.addressLimit
        self.unicast = fitsUnicast ? unicast : []
        self.multicast = fitsMulticast ? multicast : []
        unicastOverflows = !fitsUnicast
        multicastOverflows = !fitsMulticast
        return true
    }

    private static func table(_ rest: inout ArraySlice<UInt8>) -> [[UInt8]]? {
        guard rest.count >= 4 else { return nil }
        let count = Int(UInt32(littleEndian: Array(rest.prefix(4)), at: 0))
        rest.removeFirst(4)
        guard count <= rest.count / 6 else { return nil }
        let addresses = (0..<count).map { Array(rest[(rest.startIndex + $0 * 6)...].prefix(6)) }
        rest.removeFirst(count * 6)
        return addresses
    }

    /// Adds a VLAN (command 0) or removes it (1).
    mutating func setVLAN(_ command: UInt8, _ vlan: UInt16) -> Bool {
        guard vlan < 4096, command <= 1 else { return false }
        let bit = UInt8(1) << UInt8(vlan & 7)
        if command == 0 { vlans[Int(vlan >> 3)] |= bit } else { vlans[Int(vlan >> 3)] &= ~bit }
        return true
    }
}
