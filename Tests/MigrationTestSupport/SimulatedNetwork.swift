public import LinuxSystem
public import Migration

/// A network between the two sides of a migration: delay, bandwidth, small buffers, odd chunks, cuts.
public final class SimulatedNetwork: @unchecked Sendable {
    // Safe: only the thread whose turn it is touches it.
    let simulation: Simulation
    public var latency: Duration = .microseconds(100)
    public var bytesPerSecond = 100_000_000
    public var bufferByteCount = 64 << 10
    public var maximumChunk = 16 << 10
    /// Whether channels lend pages: what arrives is what they hold when they are received.
    public var lendsPages = false
    /// How many bytes were lent.
    public fileprivate(set) var lentByteCount = 0
    /// Once cut, every connection is dead, and no new one can be made.
    public private(set) var isCut = false
    /// Which operations of a side fail.
    public var faults: [String: Fault] = [:]
    fileprivate var listening: SimulatedListener?
    private var links: [Link] = []

    /// The n-th operation of a side fails, once or from then on.
    public struct Fault: Sendable {
        public var operation: Int
        public var isPermanent: Bool
        public fileprivate(set) var count = 0

        public init(operation: Int, isPermanent: Bool) {
            self.operation = operation
            self.isPermanent = isPermanent
        }
    }

    public init(simulation: Simulation) { self.simulation = simulation }

    /// Cuts all connections. What is on its way is lost.
    public func cut() {
        isCut = true
        for link in links { link.fail() }
        if let listening { simulation.wake(listening.key) }
    }

    /// How many operations `side` has made.
    public func operationCount(of side: String) -> Int { faults[side]?.count ?? 0 }

    /// - Throws: If this operation of `side` is to fail.
    func checkFault(_ side: String, _ operation: String) throws(ChannelError) {
        guard var fault = faults[side] else { return }
        let index = fault.count
        fault.count += 1
        faults[side] = fault
        if index == fault.operation || (fault.isPermanent && index > fault.operation) {
            throw ChannelError(operation: operation, address: "sim:\(side)", reason: "Injected fault \(index)")
        }
    }

    public func makeListener() -> SimulatedListener {
        let listener = SimulatedListener(network: self)
        listening = listener
        return listener
    }

    public func makeConnector() -> SimulatedConnector { SimulatedConnector(network: self) }

    fileprivate func connect() -> (SimulatedChannel, SimulatedChannel) {
        let there = Link(network: self)
        let back = Link(network: self)
        links += [there, back]
        return (
            SimulatedChannel(side: "source", network: self, outgoing: there, incoming: back),
            SimulatedChannel(side: "destination", network: self, outgoing: back, incoming: there)
        )
    }
}

/// One direction of a connection.
final class Link {
    private let network: SimulatedNetwork
    private var segments: [(ready: Duration, bytes: Bytes)] = []
    /// Descriptors, and how many bytes are received before they come.
    private var descriptors: [(position: Int, descriptor: PassedDescriptor)] = []
    private var putByteCount = 0
    private var takenByteCount = 0
    private var queuedByteCount = 0

    /// What is on its way: bytes, or memory of the sender that is read when they arrive.
    enum Bytes {
        case own(ArraySlice<UInt8>)
        case lent(UnsafeRawBufferPointer)

        var count: Int {
            switch self {
            case .own(let bytes): bytes.count
            case .lent(let memory): memory.count
            }
        }

        /// The first `count` bytes as they are now.
        func first(_ count: Int) -> [UInt8] {
            switch self {
            case .own(let bytes): Array(bytes.prefix(count))
            case .lent(let memory): Array(memory.prefix(count))
            }
        }

        func dropFirst(_ count: Int) -> Bytes {
            switch self {
            case .own(let bytes): .own(bytes.dropFirst(count))
            case .lent(let memory): .lent(UnsafeRawBufferPointer(rebasing: memory.dropFirst(count)))
            }
        }
    }
    private var lineFree: Duration = .zero
    let key = Simulation.Key()
    private(set) var hasFailed = false
    var hasEnded = false

    init(network: SimulatedNetwork) { self.network = network }

    var room: Int { network.bufferByteCount - queuedByteCount }

    func fail() {
        hasFailed = true
        segments = []
        network.simulation.wake(key)
    }

    func end() {
        hasEnded = true
        network.simulation.wake(key)
    }

    /// Descriptors travel with the next byte.
    func put(_ passed: [PassedDescriptor]) { descriptors += passed.map { (putByteCount, $0) } }

    /// The descriptors that came with bytes that were taken; others are gone.
    func takeDescriptors() -> [PassedDescriptor] {
        let taken = descriptors.prefix { $0.position < takenByteCount }
        descriptors.removeFirst(taken.count)
        return taken.map(\.descriptor)
    }

    func put(_ bytes: Bytes) {
        putByteCount += bytes.count
        let start = max(lineFree, network.simulation.clock)
        lineFree = start + .nanoseconds(bytes.count * 1_000_000_000 / network.bytesPerSecond)
        let ready = lineFree + network.latency
        segments.append((ready, bytes))
        queuedByteCount += bytes.count
        network.simulation.wake(key)
    }

    /// Bytes that have arrived; nil at the end.
    func take(_ limit: Int) throws(LinkFailure) -> [UInt8]? {
        let simulation = network.simulation
        while true {
            if hasFailed { throw LinkFailure() }
            if let bytes = takeReady(limit) { return bytes }
            if let first = segments.first {
                simulation.wait(for: key, until: first.ready)
            } else {
                if hasEnded { return nil }
                simulation.wait(for: key)
            }
        }
    }

    /// Bytes that have arrived; nil if there are none.
    private func takeReady(_ limit: Int) -> [UInt8]? {
        guard let first = segments.first, first.ready <= network.simulation.clock else { return nil }
        let count = min(limit, first.bytes.count)
        let bytes = first.bytes.first(count)
        if count == first.bytes.count {
            segments.removeFirst()
        } else {
            segments[0].bytes = first.bytes.dropFirst(count)
        }
        queuedByteCount -= count
        takenByteCount += count
        network.simulation.wake(key)
        return bytes
    }

    /// Bytes that have arrived; nil if there are none yet, none at the end.
    func takeNow(_ limit: Int) throws(LinkFailure) -> [UInt8]? {
        if hasFailed { throw LinkFailure() }
        if segments.isEmpty && hasEnded { return [] }
        return takeReady(limit)
    }
}

struct LinkFailure: Error {}

/// One end of a simulated connection.
public final class SimulatedChannel: MigrationChannel, @unchecked Sendable {
    public let address: String
    public let isBidirectional = true
    private let side: String
    private let network: SimulatedNetwork
    private let outgoing: Link
    private let incoming: Link
    private var isShutDown = false

    init(side: String, network: SimulatedNetwork, outgoing: Link, incoming: Link) {
        self.side = side
        address = "sim:\(side)"
        self.network = network
        self.outgoing = outgoing
        self.incoming = incoming
    }

    private func error(_ operation: String, _ reason: String) -> ChannelError {
        ChannelError(operation: operation, address: address, reason: reason)
    }

    public func send(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure {
        let simulation = network.simulation
        try network.checkFault(side, "send")
        simulation.mayYield()
        var pressure = BackPressure()
        var refused: Duration?
        while !vectors.isEmpty {
            if isShutDown || network.isCut || outgoing.hasFailed || outgoing.hasEnded {
                throw error("send", "Broken pipe")
            }
            let room = outgoing.room
            guard room > 0 else {
                if refused == nil { refused = simulation.clock }
                simulation.wait(for: outgoing.key)
                continue
            }
            let limit = min(
                room, vectors.byteCount, Int.random(in: 1...network.maximumChunk, using: &simulation.random))
            let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
                var piece = 0
                while count < limit {
                    let next = vectors.piece(piece)
                    let length = min(next.count, limit - count)
                    UnsafeMutableRawBufferPointer(buffer).baseAddress.unsafelyUnwrapped.advanced(by: count)
                        .copyMemory(from: next.baseAddress.unsafelyUnwrapped, byteCount: length)
                    count += length
                    piece += 1
                }
            }
            vectors.removeFirst(bytes.count)
            if refused != nil { pressure.byteCount += bytes.count }
            outgoing.put(.own(bytes[...]))
        }
        if let refused { pressure.duration = simulation.clock - refused }
        return pressure
    }

    public func enableLending() -> Bool { network.lendsPages }

    public func sendLent(_ vectors: inout MemoryVectors) throws(ChannelError) -> BackPressure {
        let simulation = network.simulation
        try network.checkFault(side, "send")
        simulation.mayYield()
        while !vectors.isEmpty {
            if isShutDown || network.isCut || outgoing.hasFailed || outgoing.hasEnded {
                throw error("send", "Broken pipe")
            }
            let room = outgoing.room
            guard room > 0 else {
                simulation.wait(for: outgoing.key)
                continue
            }
            let piece = UnsafeRawBufferPointer(vectors.piece(0))
            let memory = UnsafeRawBufferPointer(rebasing: piece.prefix(min(room, network.maximumChunk)))
            outgoing.put(.lent(memory))
            network.lentByteCount += memory.count
            vectors.removeFirst(memory.count)
        }
        return BackPressure()
    }

    public func receive(into buffer: UnsafeMutableRawBufferPointer) throws(ChannelError) -> Int {
        try network.checkFault(side, "receive")
        return try receiveSome(into: buffer)
    }

    private func receiveSome(into buffer: UnsafeMutableRawBufferPointer) throws(ChannelError) -> Int {
        network.simulation.mayYield()
        if isShutDown { throw error("receive", "Shut down") }
        let bytes: [UInt8]?
        do { bytes = try incoming.take(buffer.count) } catch { throw self.error("receive", "Connection reset") }
        if isShutDown { throw error("receive", "Shut down") }
        guard let bytes else { return 0 }
        bytes.withUnsafeBytes { buffer.copyMemory(from: $0) }
        return bytes.count
    }

    public func receive(some vectors: inout MemoryVectors) throws(ChannelError) -> Int {
        try network.checkFault(side, "receive")
        let count = try receiveSome(into: vectors.piece(0))
        vectors.removeFirst(count)
        return count
    }

    public func receive(now vectors: inout MemoryVectors) throws(ChannelError) -> Int? {
        try network.checkFault(side, "receive")
        network.simulation.mayYield()
        if isShutDown { throw error("receive", "Shut down") }
        var total: Int?
        while !vectors.isEmpty {
            let piece = vectors.piece(0)
            let bytes: [UInt8]?
            do { bytes = try incoming.takeNow(piece.count) } catch { throw self.error("receive", "Connection reset") }
            guard let bytes else { break }
            total = (total ?? 0) + bytes.count
            if bytes.isEmpty { break }
            bytes.withUnsafeBytes { piece.copyMemory(from: $0) }
            vectors.removeFirst(bytes.count)
        }
        return total
    }

    public func receive(all vectors: inout MemoryVectors) throws(ChannelError) {
        try network.checkFault(side, "receive")
        while !vectors.isEmpty {
            let count = try receiveSome(into: vectors.piece(0))
            if count == 0 { throw error("receive", "The peer has ended") }
            vectors.removeFirst(count)
        }
    }

    public var passesDescriptors: Bool { true }

    public func send(_ bytes: [UInt8], passing descriptors: [PassedDescriptor]) throws(ChannelError) {
        outgoing.put(descriptors)
        var copy = bytes
        var vectors = MemoryVectors(capacity: 1)
        var failure: ChannelError?
        copy.withUnsafeMutableBytes { buffer in
            vectors.append(UnsafeRawBufferPointer(buffer))
            do throws(ChannelError) { _ = try send(&vectors) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    public func takeDescriptors() -> [PassedDescriptor] { incoming.takeDescriptors() }

    public func endSending() throws(ChannelError) {
        try network.checkFault(side, "end")
        outgoing.end()
    }

    public func stopReceiving() { incoming.end() }

    public func shutDown() {
        if isShutDown { return }
        isShutDown = true
        outgoing.end()
        incoming.end()
    }
}

public final class SimulatedConnector: MigrationConnector, @unchecked Sendable {
    public let address = "sim:destination"
    public let canOpenMore = true
    private let network: SimulatedNetwork
    private var isCancelled = false

    init(network: SimulatedNetwork) { self.network = network }

    public func open() throws(ChannelError) -> any MigrationChannel {
        try network.checkFault("source", "connect")
        network.simulation.mayYield()
        guard !isCancelled, !network.isCut, let listener = network.listening, !listener.isCancelled else {
            throw ChannelError(operation: "connect", address: address, reason: "Connection refused")
        }
        let (near, far) = network.connect()
        listener.arrived.append(far)
        network.simulation.wake(listener.key)
        return near
    }

    public func cancel() { isCancelled = true }
}

public final class SimulatedListener: MigrationListener, @unchecked Sendable {
    public let address = "sim:destination"
    public let acceptsMore = true
    private let network: SimulatedNetwork
    fileprivate var arrived: [SimulatedChannel] = []
    fileprivate let key = Simulation.Key()
    fileprivate var isCancelled = false

    init(network: SimulatedNetwork) { self.network = network }

    public func accept() throws(ChannelError) -> any MigrationChannel {
        try network.checkFault("destination", "accept")
        network.simulation.mayYield()
        while arrived.isEmpty {
            if isCancelled || network.isCut {
                throw ChannelError(operation: "accept", address: address, reason: "Cancelled")
            }
            network.simulation.wait(for: key)
        }
        return arrived.removeFirst()
    }

    public func cancel() {
        isCancelled = true
        for channel in arrived { channel.shutDown() }
        network.simulation.wake(key)
    }
}
