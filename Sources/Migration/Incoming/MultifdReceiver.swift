internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream
internal import PageCompression
internal import Synchronization

/// The receiving side of multifd: one thread a channel puts pages straight into guest memory.
///
/// No page is taken before the block list was found to fit (`begin`). After a sync a channel waits until the main
/// thread has seen that sync on all of them: only then may pages of the next pass, newer ones, be written.
final class MultifdReceiver: Sendable {
    let memory: ReceivedMemory
    private let uuid: MachineUUID
    private let dialect: StreamDialect
    /// Opened when the main thread should look.
    private let changed: any MigrationGate
    private let gates: [any MigrationGate]
    private let state: Mutex<State>

    private struct State {
        var isAdmitted: [Bool]
        var syncCounts: [Int]
        var hasEnded: [Bool]
        /// Syncs that the main thread has seen on all channels.
        var releasedSyncCount = 0
        var hasBegun = false
        var isClosed = false
    }

    init(
        memory: ReceivedMemory, uuid: MachineUUID, dialect: StreamDialect, runtime: any MigrationRuntime,
        changed: any MigrationGate
    ) {
        self.memory = memory
        self.uuid = uuid
        self.dialect = dialect
        self.changed = changed
        let count = dialect.channelCount
        gates = (0..<count).map { _ in runtime.makeGate() }
        state = Mutex(
            State(
                isAdmitted: Array(repeating: false, count: count), syncCounts: Array(repeating: 0, count: count),
                hasEnded: Array(repeating: false, count: count)))
    }

    var channelCount: Int { dialect.channelCount }
    /// Whether all channels have come.
    var isComplete: Bool { state.withLock { $0.isAdmitted.allSatisfy { $0 } } }

    /// Reads the rest of a channel's hello, after its magic; its number, nil if it is not one of ours.
    func admit(_ channel: any MigrationChannel) -> Int? {
        var bytes = [UInt8](repeating: 0, count: MultifdHello.byteCount)
        withUnsafeBytes(of: MultifdHello.magic.bigEndian) { bytes.replaceSubrange(0..<4, with: $0) }
        var decoder = MultifdDecoder()
        do {
            try bytes.withUnsafeMutableBytes { buffer in
                try receiveAll(UnsafeMutableRawBufferPointer(rebasing: buffer[4...]), from: channel)
            }
            guard case .element(.hello(let hello), _) = try decoder.next(in: bytes.span.bytes, ended: true),
                hello.uuid == uuid || uuid == .none || hello.uuid == .none
            else { return nil }
            return state.withLock { state in
                let index = Int(hello.channel)
                guard index < state.isAdmitted.count, !state.isAdmitted[index], !state.isClosed else { return nil }
                state.isAdmitted[index] = true
                return index
            }
        } catch {
            return nil
        }
    }

    /// The block list fits: pages may come.
    func begin() {
        state.withLock { $0.hasBegun = true }
        for gate in gates { gate.open() }
    }

    /// Whether every channel has delivered one more sync than were released; then all may go on.
    ///
    /// - Throws: `MigrationError.channelMismatch` if a channel has ended and will not deliver it.
    func releaseSync() throws -> Bool? {
        let isReleased = try state.withLock { state in
            for index in state.syncCounts.indices
            where state.hasEnded[index] && state.syncCounts[index] <= state.releasedSyncCount {
                throw MigrationError.channelMismatch("Multifd channel \(index) ended before its last pages.")
            }
            guard state.syncCounts.allSatisfy({ $0 > state.releasedSyncCount }) else { return false }
            state.releasedSyncCount += 1
            return true
        }
        guard isReleased else { return nil }
        for gate in gates { gate.open() }
        return true
    }

    /// Lets waiting threads end.
    func close() {
        state.withLock { $0.isClosed = true }
        for gate in gates { gate.open() }
    }

    /// Receives from a channel until it ends; the error that ended it before everything did.
    func receive(from channel: any MigrationChannel, index: Int) -> (any Error)? {
        do {
            guard wait(index, until: { $0.hasBegun }) else { return nil }
            let lane = try ReceivingLane(channel: channel, memory: memory, dialect: dialect)
            while let isSync = try lane.receivePacket() {
                guard isSync else { continue }
                state.withLock { $0.syncCounts[index] += 1 }
                changed.open()
                guard wait(index, until: { $0.releasedSyncCount >= $0.syncCounts[index] }) else { return nil }
            }
            state.withLock { $0.hasEnded[index] = true }
            changed.open()
            return nil
        } catch {
            return state.withLock { $0.isClosed } ? nil : error
        }
    }

    /// Waits for `condition`; false if everything ends.
    private func wait(_ index: Int, until condition: (State) -> Bool) -> Bool {
        while true {
            gates[index].close()
            let (holds, isClosed) = state.withLock { (condition($0), $0.isClosed) }
            if isClosed { return false }
            if holds { return true }
            gates[index].wait(until: nil)
        }
    }
}

/// What the thread of one channel uses.
private final class ReceivingLane {
    private let channel: any MigrationChannel
    private let memory: ReceivedMemory
    private let compression: MultifdCompression
    private var inflater: PacketInflater?
    private let header: UnsafeMutableRawBufferPointer
    private var data = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var vectors = MemoryVectors(capacity: MultifdPacket.usualCapacity)
    private var decoder = MultifdDecoder(expectsHello: false)
    private var blockName = ""
    private var region = 0

    private static let headerByteCount = MultifdPacket.fixedByteCount + 8 * MultifdPacket.usualCapacity

    init(channel: any MigrationChannel, memory: ReceivedMemory, dialect: StreamDialect) throws {
        self.channel = channel
        self.memory = memory
        header = .allocate(byteCount: Self.headerByteCount, alignment: 16)
        switch dialect.compression {
        case .none: compression = .none
        case .zlib:
            compression = .zlib
            inflater = try PacketInflater(.zlib)
        case .zstd:
            compression = .zstd
            inflater = try PacketInflater(.zstd)
        }
    }

    deinit {
        header.deallocate()
        data.deallocate()
    }

    /// Receives one packet and its pages; whether it is a sync, nil at the end of the channel.
    func receivePacket() throws -> Bool? {
        let first: Int
        do {
            first = try channel.receive(into: header)
            if first == 0 { return nil }
            if first < header.count {
                try receiveAll(UnsafeMutableRawBufferPointer(rebasing: header[first...]), from: channel)
            }
        } catch {
            throw MigrationError.channel(error)
        }
        let packet = try decodeHeader()
        if packet.normalPageCount + packet.zeroPageCount > 0 { try selectBlock(packet.block) }
        if packet.normalPageCount > 0 {
            guard packet.flags.compression == compression else {
                throw MigrationError.unexpected(
                    "pages with compression \(packet.flags.compression.rawValue) where "
                        + "\(compression.rawValue) was agreed")
            }
            if inflater == nil { try receivePages(packet) } else { try inflatePages(packet) }
        }
        try forEachRun(of: packet.zeroOffsets) { offset, pageCount in
            try memory.fill(region: region, offset: offset, pageCount: pageCount, with: 0)
        }
        return packet.flags.contains(.sync)
    }

    private func decodeHeader() throws -> MultifdPacket {
        do {
            let (packet, missing) = try decoder.decodePacketHeader(in: UnsafeRawBufferPointer(header).bytes)
            guard let packet, packet.offsets.count == MultifdPacket.usualCapacity else {
                throw MigrationError.unexpected("a multifd packet with \(missing) bytes more than the usual")
            }
            return packet
        } catch let error as StreamError {
            throw MigrationError.stream(error, address: channel.address)
        }
    }

    private func selectBlock(_ name: String) throws {
        if name == blockName { return }
        guard let found = memory.region(named: name) else { throw MigrationError.unknownBlock(name) }
        region = found
        blockName = name
    }

    private func receivePages(_ packet: MultifdPacket) throws {
        try forEachRun(of: packet.normalOffsets) { offset, pageCount in
            let target = try memory.target(region: region, offset: offset, pageCount: pageCount)
            vectors.append(target.baseAddress.unsafelyUnwrapped, count: target.count)
        }
        do { try channel.receive(all: &vectors) } catch { throw MigrationError.channel(error) }
    }

    /// Calls `body` with each run of pages that follow one another: the first one's offset, and how many.
    private func forEachRun(of offsets: ArraySlice<UInt64>, _ body: (Int, Int) throws -> Void) rethrows {
        guard var first = offsets.first else { return }
        var pageCount = 0
        for offset in offsets {
            if offset != first &+ UInt64(pageCount * pageSize) {
                try body(Int(clamping: first), pageCount)
                first = offset
                pageCount = 0
            }
            pageCount += 1
        }
        try body(Int(clamping: first), pageCount)
    }

    private func inflatePages(_ packet: MultifdPacket) throws {
        if data.count < packet.dataByteCount {
            data.deallocate()
            data = .allocate(byteCount: packet.dataByteCount, alignment: 16)
        }
        let part = UnsafeMutableRawBufferPointer(rebasing: data[..<packet.dataByteCount])
        do { try receiveAll(part, from: channel) } catch { throw MigrationError.channel(error) }
        let packetData = UnsafeRawBufferPointer(part).bytes
        inflater?.start()
        for offset in packet.normalOffsets {
            let page = try memory.target(region: region, offset: Int(clamping: offset), pageCount: 1)
            var target = page.mutableBytes
            try inflater?.inflate(packetData, into: &target)
        }
        try inflater?.finish(packetData)
    }
}
