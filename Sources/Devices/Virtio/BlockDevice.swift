internal import GuestMemory
public import LinuxSystem
public import MigrationStream
internal import Synchronization

/// A disk: virtio-blk with one queue, served on a thread of its own.
///
/// Requests are done one after another, so everything taken is finished when `serve` returns, and a disk is drained as
/// soon as it is quiet. An error of the host's disk ends the request with an error status, as with QEMU's
/// `werror=report`; the guest decides what to do.
public final class BlockDevice: VirtioDevice {
    public let name = "virtio-blk"
    public let deviceID: UInt32 = 2
    public let queueSizes: [UInt16] = [256]
    public let link = VirtioLink()
    public let hostDescriptor: Int32? = nil
    public let features: UInt64
    /// What the guest reads as the disk's serial number, up to 20 bytes.
    public let serialNumber: String
    public let backend: any DiskBackend

    struct Live: Sendable {
        /// Whether writes may stay in the host's cache until a flush.
        var isWriteBack = true
        var acceptedFeatures: UInt64 = 0
        /// Requests that an error stopped at a QEMU source; they are done first.
        var stopped: [VirtioBlockState.StoppedRequest] = []
    }

    let live = Mutex(Live())
    private let failureHandler: @Sendable (SystemError) -> Void

    enum Feature {
        static let segmentMaximum: UInt64 = 1 << 2
        static let geometry: UInt64 = 1 << 4
        static let readOnly: UInt64 = 1 << 5
        static let blockSize: UInt64 = 1 << 6
        static let flush: UInt64 = 1 << 9
        static let topology: UInt64 = 1 << 10
        static let writeCacheControl: UInt64 = 1 << 11
        static let discard: UInt64 = 1 << 13
        static let writeZeroes: UInt64 = 1 << 14
    }

    /// - Parameter onFailure: told, on the disk's thread, of each error of the backend.
    public init(
        backend: any DiskBackend, serialNumber: String = "",
        onFailure: @escaping @Sendable (SystemError) -> Void = { _ in }
    ) {
        self.backend = backend
        self.serialNumber = serialNumber
        failureHandler = onFailure
        var features =
            Feature.segmentMaximum | Feature.geometry | Feature.blockSize | Feature.flush | Feature.topology
            | Feature.writeCacheControl | Feature.discard | Feature.writeZeroes
        if backend.isReadOnly { features |= Feature.readOnly }
        self.features = features
    }

    // MARK: Requests

    /// The status byte that ends every request.
    enum Outcome: UInt8 {
        case done = 0
        case failed = 1
        case unsupported = 2
    }

    public func serve(_ event: VirtioEvent, _ queues: inout VirtioQueues) throws(VirtioError) {
        guard event == .queue(0) else { return }
        try queues.disableNotifications(of: 0)
        while !queues.isStopRequested, let stopped = live.withLock({ $0.stopped.first }) {
            try finish(queues.unfinished(stopped.request.index, of: 0), &queues)
            live.withLock { _ = $0.stopped.removeFirst() }
        }
        while let chain = try queues.take(from: 0) { try finish(chain, &queues) }
    }

    private func finish(_ chain: DescriptorChain, _ queues: inout VirtioQueues) throws(VirtioError) {
        let byteCount = try perform(chain)
        try queues.give(chain, byteCount: byteCount)
        try queues.interruptDriver(for: 0)
    }

    /// Does one request; how many bytes were written into it.
    private func perform(_ chain: DescriptorChain) throws(VirtioError) -> Int {
        let header = chain.read(count: 16)
        let writableByteCount = chain.writableByteCount
        guard header.count == 16 else {
            throw .malformedRequest(queue: 0, head: chain.head, "has a header of \(header.count) bytes")
        }
        guard writableByteCount > 0 else {
            throw .malformedRequest(queue: 0, head: chain.head, "has no place for its status")
        }
        let type = UInt32(littleEndian: header, at: 0)
        let sector = UInt64(littleEndian: header, at: 8)
        var dataByteCount = 0
        let outcome: Outcome
        switch type {
        case 0:
            dataByteCount = writableByteCount - 1
            outcome = read(chain.writable(from: 0, count: dataByteCount), sector, dataByteCount)
        case 1: outcome = write(chain.readable(from: 16), sector, chain.readableByteCount - 16)
        case 4: outcome = attempt { () throws(SystemError) in try backend.flush() }
        case 8:
            dataByteCount = chain.write(serialNumberBytes(limit: writableByteCount - 1))
            outcome = .done
        case 11, 13: outcome = forget(chain.read(from: 16, count: 17), zeroing: type == 13)
        default: outcome = .unsupported
        }
        chain.write([outcome.rawValue], at: writableByteCount - 1)
        return dataByteCount + 1
    }

    private func read(_ slices: [GuestMemorySlice], _ sector: UInt64, _ byteCount: Int) -> Outcome {
        guard let offset = offset(of: sector, byteCount: byteCount) else { return .failed }
        let outcome = attempt { () throws(SystemError) in try backend.read(into: slices, at: offset) }
        for slice in slices { slice.markDirty() }
        return outcome
    }

    private func write(_ slices: [GuestMemorySlice], _ sector: UInt64, _ byteCount: Int) -> Outcome {
        guard let offset = offset(of: sector, byteCount: byteCount), !backend.isReadOnly else { return .failed }
        return attempt { () throws(SystemError) in
            try backend.write(slices, at: offset)
            try flushUnlessWriteBack()
        }
    }

    /// Discards a range or makes it zero. The request has one segment: sector u64, sector count u32, flags u32.
    private func forget(_ segment: [UInt8], zeroing: Bool) -> Outcome {
        guard !backend.isReadOnly else { return .failed }
        // More than one segment is more than the configuration space allows.
        guard segment.count == 16 else { return .unsupported }
        let sectorCount = UInt32(littleEndian: segment, at: 8)
        let flags = UInt32(littleEndian: segment, at: 12)
        guard flags & ~1 == 0, zeroing || flags == 0 else { return .unsupported }
        let byteCount = Int(sectorCount) * 512
        guard sectorCount <= Self.largestForgottenSectorCount,
            let offset = offset(of: UInt64(littleEndian: segment, at: 0), byteCount: byteCount)
        else { return .failed }
        if byteCount == 0 { return .done }
        return attempt { () throws(SystemError) in
            if zeroing {
                try backend.writeZeroes(at: offset, byteCount: Int64(byteCount), mayUnmap: flags & 1 == 1)
            } else {
                try backend.discard(at: offset, byteCount: Int64(byteCount))
            }
            try flushUnlessWriteBack()
        }
    }

    private func flushUnlessWriteBack() throws(SystemError) {
        if !live.withLock({ $0.isWriteBack }) { try backend.flush() }
    }

    private func attempt(_ body: () throws(SystemError) -> Void) -> Outcome {
        do {
            try body()
            return .done
        } catch {
            failureHandler(error)
            return .failed
        }
    }

    /// Where a sector is, nil unless all of the bytes are whole sectors of the disk.
    private func offset(of sector: UInt64, byteCount: Int) -> Int64? {
        let sectorCount = UInt64(backend.byteCount) / 512
        guard byteCount >= 0, byteCount % 512 == 0, sector <= sectorCount,
            UInt64(byteCount / 512) <= sectorCount - sector
        else { return nil }
        return Int64(sector) * 512
    }

    private func serialNumberBytes(limit: Int) -> [UInt8] {
        var bytes = Array(serialNumber.utf8.prefix(20))
        bytes.append(contentsOf: [UInt8](repeating: 0, count: 20 - bytes.count))
        return Array(bytes.prefix(limit))
    }

    // MARK: Set-up

    public func driverIsReady(features: UInt64) {
        live.withLock { live in
            live.acceptedFeatures = features
            // A driver that never flushes must find its writes on the disk.
            if features & (Feature.flush | Feature.writeCacheControl) == 0 { live.isWriteBack = false }
        }
    }

    public func resetDevice() { live.withLock { $0 = Live() } }

    public func save(into state: inout VirtioBlockState) { state.requests = live.withLock { $0.stopped } }

    public func load(_ state: VirtioBlockState) throws {
        try checkCapacity(state.virtio.configuration)
        live.withLock { live in
            live.acceptedFeatures = state.virtio.guestFeatures
            live.stopped = state.requests
            if state.virtio.configuration.count > Layout.writeBack {
                live.isWriteBack = state.virtio.configuration[Layout.writeBack] & 1 == 1
            }
        }
    }

    private func checkCapacity(_ configuration: [UInt8]) throws {
        guard configuration.count >= 8 else { return }
        let sectorCount = UInt64(littleEndian: configuration, at: 0)
        // Zero in the configuration that QEMU kept means that the guest has never looked.
        guard sectorCount != 0, sectorCount != UInt64(backend.byteCount / 512) else { return }
        throw DeviceError.mismatch(
            device: name, property: "the number of sectors", here: "\(backend.byteCount / 512)",
            there: "\(sectorCount)")
    }
}
