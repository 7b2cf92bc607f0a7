internal import GuestMemory
internal import LinuxSystem
internal import Synchronization

/// A network card: virtio-net with one pair of queues and a control queue.
///
/// Frames keep their virtio header from the driver to the host's tap and back, so checksums and segmentation are done by
/// whoever does them best. A frame that does not fit the driver's buffers waits, and the host's queue fills behind it.
public final class NetworkDevice: VirtioDevice {
    public let name = "virtio-net"
    public let deviceID: UInt32 = 1
    /// Receive, transmit, control.
    public let queueSizes: [UInt16] = [256, 256, 64]
    public let link = VirtioLink()
    public let features: UInt64
    let backend: any NetworkBackend
    private let initialMAC: [UInt8]

    struct Live: Sendable {
        var mac: [UInt8]
        var filter = ReceiveFilter()
        var isLinkUp = true
        var needsAnnouncement = false
        /// Feature bits that the driver uses for receiving now.
        var guestOffloads: UInt64 = 0
        var mergesBuffers = false
    }

    let live: Mutex<Live>
    /// The frame that waits for buffers; in the card's thread only, and empty while the card is quiet.
    private let frame = Mutex(ReceivedFrame())

    private struct ReceivedFrame: Sendable {
        var bytes = [UInt8](repeating: 0, count: NetworkDevice.largestFrame)
        var byteCount = 0
    }

    /// A header and the largest segment an offload can make.
    static let largestFrame = 12 + 65550

    /// - Precondition: `mac` has 6 bytes.
    public init(backend: any NetworkBackend, mac: [UInt8]) {
        precondition(mac.count == 6, "a MAC address of \(mac.count) bytes")
        self.backend = backend
        initialMAC = mac
        live = Mutex(Live(mac: mac))
        features = Feature.always | (backend.hasOffloads ? Feature.offloads : 0)
    }

    public var hostDescriptor: Int32? { backend.descriptorNumber }
    public var mac: [UInt8] { live.withLock { $0.mac } }

    // MARK: Frames

    public func serve(_ event: VirtioEvent, _ queues: inout VirtioQueues) throws(VirtioError) {
        switch event {
        case .host, .queue(0): try receive(&queues)
        case .queue(1): try transmit(&queues)
        case .queue(2): try control(&queues)
        case .queue: break
        }
    }

    private func transmit(_ queues: inout VirtioQueues) throws(VirtioError) {
        try queues.disableNotifications(of: 1)
        while let chain = try queues.take(from: 1) {
            let byteCount = chain.readableByteCount
            guard byteCount >= TapDescriptor.headerByteCount else {
                throw .malformedRequest(queue: 1, head: chain.head, "has \(byteCount) bytes, less than a header")
            }
            // A frame the host refuses is lost, as on a cable.
            _ = try? backend.writeFrame(chain.readable)
            try queues.give(chain, byteCount: 0)
        }
        try queues.interruptDriver(for: 1)
    }

    private func receive(_ queues: inout VirtioQueues) throws(VirtioError) {
        try queues.disableNotifications(of: 0)
        queues.waitsForHost = true
        try frame.withLock { (frame) throws(VirtioError) in
            while !queues.isStopRequested {
                // A frame is only read when there is a buffer for it, so that none is lost when the guest moves.
                guard let first = try queues.take(from: 0) else {
                    queues.waitsForHost = false
                    break
                }
                guard try fill(&frame, for: first, &queues) else {
                    queues.untake(from: 0)
                    break
                }
                if try !deliver(frame, first, &queues) { break }
            }
        }
        try queues.interruptDriver(for: 0)
    }

    /// Reads the next frame that is for this card; false when there is none.
    private func fill(
        _ frame: inout ReceivedFrame, for first: DescriptorChain, _ queues: inout VirtioQueues
    ) throws(VirtioError) -> Bool {
        let (filter, mac) = live.withLock { ($0.filter, $0.mac) }
        while true {
            let count = frame.bytes.withUnsafeMutableBytes { try? backend.readFrame(into: $0) } ?? nil
            guard let count, count >= TapDescriptor.headerByteCount else { return false }
            frame.byteCount = count
            let isWanted = frame.bytes.withUnsafeBytes { filter.takes(.init(rebasing: $0[12..<count]), mac: mac) }
            if isWanted { return true }
            if queues.isStopRequested { return false }
        }
    }

    /// Copies the frame into the driver's buffers; false, with the frame lost, when they are too few or too small.
    private func deliver(
        _ frame: ReceivedFrame, _ first: DescriptorChain, _ queues: inout VirtioQueues
    ) throws(VirtioError) -> Bool {
        var chains = [first]
        var room = first.writableByteCount
        let merges = live.withLock { $0.mergesBuffers }
        while room < frame.byteCount {
            guard merges, let next = try queues.take(from: 0) else {
                for _ in chains { queues.untake(from: 0) }
                return false
            }
            chains.append(next)
            room += next.writableByteCount
        }
        var bytes = Array(frame.bytes[..<frame.byteCount])
        bytes.store(UInt16(chains.count), at: 10)
        var done = 0
        for chain in chains {
            let part = Array(bytes[done..<min(bytes.count, done + chain.writableByteCount)])
            chain.write(part)
            done += part.count
            try queues.give(chain, byteCount: part.count, publishing: false)
        }
        try queues.publish(0)
        return true
    }

    private func control(_ queues: inout VirtioQueues) throws(VirtioError) {
        while let chain = try queues.take(from: 2) {
            let bytes = chain.read(count: 2 + 8 + 6 * 4096)
            guard bytes.count >= 2, chain.writableByteCount >= 1 else {
                throw .malformedRequest(queue: 2, head: chain.head, "is no command")
            }
            let isDone = perform(bytes[0], bytes[1], Array(bytes.dropFirst(2)))
            chain.write([isDone ? 0 : 1])
            try queues.give(chain, byteCount: 1)
        }
        try queues.interruptDriver(for: 2)
    }

    // MARK: Control

    /// Does a command of the control queue; whether it was understood.
    private func perform(_ kind: UInt8, _ command: UInt8, _ data: [UInt8]) -> Bool {
        live.withLock { live in
            switch (kind, command) {
            case (0, _) where data.count == 1: return live.filter.setMode(command, data[0] != 0)
            case (1, 0): return live.filter.setTables(data)
            case (1, 1) where data.count == 6:
                live.mac = data
                return true
            case (2, _) where data.count == 2:
                return live.filter.setVLAN(command, UInt16(littleEndian: data, at: 0))
            case (3, 0):
                live.needsAnnouncement = false
                return true
            case (5, 0) where data.count == 8:
                let wanted = UInt64(littleEndian: data, at: 0)
                guard wanted & ~(features & Feature.guestOffloads) == 0 else { return false }
                live.guestOffloads = wanted
                applyOffloads(wanted)
                return true
            default: return false
            }
        }
    }

    func applyOffloads(_ bits: UInt64) {
        guard backend.hasOffloads else { return }
        // The host knew all of them when the card was made.
        try? backend.setOffloads(Feature.offloads(bits))
    }

    // MARK: Announcement

    /// Tells the network where the guest is now: one RARP frame to the host's side, and a request to the guest's driver.
    ///
    /// Sent several times after a migration; the guest runs. Any thread.
    public func announce() {
        let mac = live.withLock { live in
            live.needsAnnouncement = true
            return live.mac
        }
        _ = try? backend.writeFrame(Self.announcement(of: mac))
        link.configurationChanged()
    }

    /// A reverse ARP request of `mac` for itself, 60 bytes, to everyone.
    static func announcement(of mac: [UInt8]) -> [UInt8] {
        var frame = [UInt8](repeating: 0xFF, count: 6) + mac
        frame += [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]
        frame += mac + [0, 0, 0, 0] + mac + [0, 0, 0, 0]
        return frame + [UInt8](repeating: 0, count: 60 - frame.count)
    }

    // MARK: Set-up

    public var configuration: [UInt8] {
        live.withLock { live in live.mac + [(live.isLinkUp ? 1 : 0) | (live.needsAnnouncement ? 2 : 0), 0] }
    }

    // A modern driver sets the address over the control queue.
    public func writeConfiguration(_ bytes: [UInt8], at offset: Int) {}

    public func driverIsReady(features: UInt64) {
        live.withLock { live in
            live.mergesBuffers = features & Feature.mergedBuffers != 0
            live.guestOffloads = features & Feature.guestOffloads
            applyOffloads(live.guestOffloads)
        }
    }

    public func resetDevice() {
        live.withLock { live in
            live = Live(mac: initialMAC)
            applyOffloads(0)
        }
    }
}
