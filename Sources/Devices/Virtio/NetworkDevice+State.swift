internal import LinuxSystem
public import MigrationStream
internal import Synchronization

extension NetworkDevice {
    /// The feature bits of virtio-net.
    enum Feature {
        static let checksum: UInt64 = 1 << 0
        static let guestChecksum: UInt64 = 1 << 1
        static let controlOffloads: UInt64 = 1 << 2
        static let guestTCP4: UInt64 = 1 << 7
        static let guestTCP6: UInt64 = 1 << 8
        static let guestECN: UInt64 = 1 << 9
        static let guestUDP: UInt64 = 1 << 10
        static let mergedBuffers: UInt64 = 1 << 15

        /// MAC, merged buffers, status, control queue, receive modes, VLANs, more receive modes, announcement, address.
        static let always: UInt64 =
            1 << 5 | mergedBuffers | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 23
        static let guestOffloads = guestChecksum | guestTCP4 | guestTCP6 | guestECN | guestUDP
        /// With the old GSO bit (6) and TCP4, TCP6, ECN, UDP towards the host.
        static let offloads: UInt64 = checksum | controlOffloads | guestOffloads | 1 << 6 | 0xF << 11

        /// The same for the host's tap. Segments need checksums.
        static func offloads(_ bits: UInt64) -> TapDescriptor.Offloads {
            var offloads: TapDescriptor.Offloads = []
            guard bits & guestChecksum != 0 else { return [] }
            offloads.insert(.checksum)
            if bits & guestTCP4 != 0 { offloads.insert(.tcp4) }
            if bits & guestTCP6 != 0 { offloads.insert(.tcp6) }
            if bits & guestECN != 0 { offloads.insert(.ecn) }
            if bits & guestUDP != 0 { offloads.insert(.udp) }
            return offloads
        }
    }

    public func save(into state: inout VirtioNetState) {
        let live = live.withLock { $0 }
        let filter = live.filter
        state.mac = live.mac
        state.mergesReceiveBuffers = live.mergesBuffers ? 1 : 0
        state.linkStatus = (live.isLinkUp ? 1 : 0) | (live.needsAnnouncement ? 2 : 0)
        state.isPromiscuous = filter.isPromiscuous ? 1 : 0
        state.receivesAllMulticast = filter.takesAllMulticast ? 1 : 0
        state.receivesAllUnicast = filter.takesAllUnicast ? 1 : 0
        state.refusesMulticast = filter.refusesMulticast ? 1 : 0
        state.refusesUnicast = filter.refusesUnicast ? 1 : 0
        state.refusesBroadcast = filter.refusesBroadcast ? 1 : 0
        state.addressTable = Array((filter.unicast + filter.multicast).joined())
        state.unicastOverflow = filter.unicastOverflows ? 1 : 0
        state.multicastOverflow = filter.multicastOverflows ? 1 : 0
        state.vlans = filter.vlans
        state.hasHeader = 1
        state.hasUFO = backend.hasOffloads ? 1 : 0
        state.guestOffloads = live.guestOffloads
    }

    public func load(_ state: VirtioNetState) throws {
        guard state.queuePairLimit == 1 else {
            throw DeviceError.mismatch(
                device: name, property: "the number of queue pairs", here: "1", there: "\(state.queuePairLimit)")
        }
        if state.hasUFO != 0, !backend.hasOffloads {
            throw DeviceError.mismatch(device: name, property: "UDP fragmentation offload", here: "off", there: "on")
        }
        live.withLock { live in
            live.mac = state.mac
            live.mergesBuffers = state.mergesReceiveBuffers != 0
            live.needsAnnouncement = state.linkStatus & 2 != 0
            live.filter.isPromiscuous = state.isPromiscuous != 0
            live.filter.takesAllMulticast = state.receivesAllMulticast != 0
            live.filter.takesAllUnicast = state.receivesAllUnicast != 0
            live.filter.refusesMulticast = state.refusesMulticast != 0
            live.filter.refusesUnicast = state.refusesUnicast != 0
            live.filter.refusesBroadcast = state.refusesBroadcast != 0
            let addresses = stride(from: 0, to: state.addressTable.count / 6 * 6, by: 6).map {
                Array(state.addressTable[$0..<$0 + 6])
            }
            // The bit of a group address tells the two tables apart.
            live.filter.unicast = addresses.filter { $0[0] & 1 == 0 }
            live.filter.multicast = addresses.filter { $0[0] & 1 == 1 }
            live.filter.unicastOverflows = state.unicastOverflow != 0
            live.filter.multicastOverflows = state.multicastOverflow != 0
            live.filter.vlans = state.vlans
            live.guestOffloads =
                state.virtio.guestFeatures & Feature.controlOffloads != 0
                ? state.guestOffloads : state.virtio.guestFeatures & Feature.guestOffloads
            applyOffloads(live.guestOffloads)
        }
    }
}
