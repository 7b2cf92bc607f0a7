internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream

/// One run of an incoming migration: reads the main channel and loads what it holds.
final class IncomingSession {
    let migration: IncomingMigration
    let machine: any MigratableMachine
    private let dialect: StreamDialect
    let connections: IncomingConnections
    let memory: ReceivedMemory
    private let runReceiver: RunReceiver
    private(set) var channel: (any MigrationChannel)?
    var reader: ChannelReader?
    private(set) var decoder = StreamDecoder(options: .incoming)
    /// Whether the source wants answers.
    private(set) var hasReturnPath = false
    private var hasBegun = false
    /// Whether a device's state has come.
    private var hasDevices = false
    /// What the configuration section has that does not fit.
    private var configurationError: (any Error)?
    /// Whether the source is Apus, and understands what is said to Apus only.
    private(set) var isApusSource = false
    /// The region of each block of the stream's list.
    private(set) var regions: [Int] = []
    /// The regions whose memory came as it is.
    private var adoptedRegions: Set<Int> = []
    /// What was made ready for post-copy, once the source has advised it.
    var postcopy: PostcopyLoading?

    init(migration: IncomingMigration) {
        self.migration = migration
        machine = migration.machine
        dialect = migration.dialect
        connections = migration.connections
        memory = migration.connections.multifd.memory
        runReceiver = RunReceiver(memory: memory)
    }

    /// What has been loaded, and whether the guest ran at the source.
    enum Loaded {
        case all(wasRunning: Bool)
        /// All but memory that follows while the guest runs.
        case devices(wasRunning: Bool)
    }

    /// Loads the guest.
    func load() throws -> Loaded {
        try connections.start()
        let channel = try connections.waitForMain()
        self.channel = channel
        let reader = ChannelReader(channel: channel, capacity: 512 << 10)
        self.reader = reader
        // The connection was recognized by its first four bytes, which have been taken.
        reader.append(migrationStreamMagic)
        while try loadNext(reader) {}
        if let postcopy, postcopy.hasRun { return .devices(wasRunning: postcopy.wasRunning) }
        return .all(wasRunning: try machine.finishLoading())
    }

    /// Loads one element; false at the end of the stream.
    private func loadNext(_ reader: ChannelReader) throws -> Bool {
        let step: StreamStep
        do {
            step = try decoder.next(in: reader.unread, ended: reader.hasEnded)
        } catch {
            throw MigrationError.stream(error, address: reader.channel.address)
        }
        switch step {
        case .finished: return false
        case .needsMore(let byteCount):
            try reader.refill(atLeast: byteCount)
            return true
        case .element(.package(let contents), let byteCount):
            migration.runtime.setUrgency(.urgent)
            let package = [UInt8](reader.unreadBytes[contents])
            reader.skip(byteCount)
            try loadPackage(package, reader)
            return false
        case .element(let element, let byteCount):
            let goesOn = try load(element, decoder.deviceState, in: reader.unreadBytes)
            reader.skip(byteCount)
            if case .pages(let run) = element, run.content == .plain { try receive(after: run, reader) }
            return goesOn
        }
    }

    /// - Parameter deviceState: What a device's payload holds, if the decoder knows it.
    func load(
        _ element: StreamElement, _ deviceState: (any DeviceState)?, in bytes: UnsafeRawBufferPointer
    ) throws -> Bool {
        if let configurationError {
            // The source is told why, as soon as it listens.
            if case .configurationSubsection = element { return true }
            guard case .command(let command) = element else { throw configurationError }
            if command == .openReturnPath || hasReturnPath { try perform(command) }
            if command != .openReturnPath { throw configurationError }
            return true
        }
        switch element {
        case .header, .footer, .ramBlockList: break
        case .configuration(let name):
            if name != machine.machineName {
                configurationError = MigrationError.machineMismatch(here: machine.machineName, stream: name)
            }
        case .configurationSubsection(let subsection):
            do { try check(subsection) } catch { configurationError = error }
        case .command(let command): try perform(command)
        case .section(let header): try begin(header)
        case .ramBlock(let id): try addBlock(decoder.blocks[id])
        case .pages(let run): try load(run, in: bytes)
        case .xbzrlePage(let page): try apply(page, in: bytes)
        case .ramEndOfSection: try endRAMSection()
        case .multifdFlush:
            guard dialect.channelCount > 0, dialect.sync == .eachRound else {
                throw MigrationError.unexpected("a multifd flush")
            }
            try beginPages()
            try waitForSync()
        case .deviceState(let payload): try load(payload, deviceState, in: bytes)
        // All that is needed has come, unless the description has to confirm where sections ended.
        case .endOfStream: return decoder.hasSearchedSections
        case .description: return false
        case .compressedPage: throw MigrationError.unexpected("compressed pages")
        case .mappedRAM: throw MigrationError.unexpected("a mapped-ram file")
        case .rdmaHook: throw MigrationError.unexpected("an RDMA hook")
        case .package: throw MigrationError.unexpected("a package in a package")
        }
        return true
    }

    // MARK: What both sides must have in common

    private func check(_ subsection: ConfigurationSubsection) throws {
        switch subsection {
        case .targetPageBits(let bits):
            guard bits == 12 else { throw MigrationError.pageSizeMismatch(hereBits: 12, streamBits: bits) }
        case .capabilities(let names):
            let expected = dialect.isLocal ? [StreamCapability.local] : []
            if let name = names.first(where: { !expected.contains($0) }) {
                throw MigrationError.capabilityMismatch(name)
            }
        case .uuid(let uuid):
            guard machine.uuid == .none || machine.uuid == uuid else {
                throw MigrationError.uuidMismatch(here: "\(machine.uuid)", stream: "\(uuid)")
            }
        case .unknown(let name, _, _): throw MigrationError.unknownConfiguration(name)
        }
    }

    /// Takes the memory of the source in place of this machine's own. Nothing is written to it before its lock is ours.
    private func adopt(_ blocks: [LocalMemory]) throws {
        guard dialect.isLocal, let channel else { throw MigrationError.capabilityMismatch(StreamCapability.local) }
        let descriptors = channel.takeDescriptors()
        for (index, block) in blocks.enumerated() {
            guard let region = memory.region(named: block.block) else { throw MigrationError.unknownBlock(block.block) }
            let own = memory.block(region)
            guard UInt64(own.byteCount) == block.byteCount else {
                throw MigrationError.blockSizeMismatch(
                    block.block, here: own.byteCount, stream: Int(clamping: block.byteCount))
            }
            guard index < descriptors.count, block.fileOffset == 0 else {
                throw MemoryHandOverError.noMemory(block: block.block)
            }
            try own.adopt(descriptors[index])
            adoptedRegions.insert(region)
        }
    }

    /// After a failure: lets go of memory that is the source's.
    func abandonMemory() {
        // Whatever keeps the kernel from mapping other memory here: without the lock the guest does not run.
        for region in adoptedRegions { try? memory.block(region).abandon() }
    }

    private func addBlock(_ block: RAMBlockDescription) throws {
        guard let region = memory.region(named: block.name) else { throw MigrationError.unknownBlock(block.name) }
        let here = memory.block(region).byteCount
        let stream = block.usedByteCount ?? 0
        guard here == stream || memory.isOptional(region) && stream <= here else {
            throw MigrationError.blockSizeMismatch(block.name, here: here, stream: stream)
        }
        regions.append(region)
    }

    /// The block list is over: it must have named all of memory.
    private func beginPages() throws {
        if hasBegun { return }
        for region in 0..<memory.count where !regions.contains(region) && !memory.isOptional(region) {
            throw MigrationError.missingBlock(memory.block(region).name)
        }
        if dialect.isLocal && adoptedRegions.isEmpty { throw MigrationError.missingCapability(StreamCapability.local) }
        hasBegun = true
        migration.enter(.active)
        connections.multifd.begin()
    }

    private func begin(_ header: SectionHeader) throws {
        if header.isRAM { return }
        guard header.kind == .full else {
            throw MigrationError.unexpected("a section \(header.name) that goes on while the guest runs")
        }
        try machine.checkSection(header)
    }

    func perform(_ command: StreamCommand) throws {
        switch command {
        case .openReturnPath:
            guard let channel, channel.isBidirectional else {
                throw MigrationError.unexpected("a return path on a connection that has no other direction")
            }
            hasReturnPath = true
            if dialect.acknowledgesSwitchover { try send(.switchoverAcknowledged) }
        case .ping(let value):
            guard hasReturnPath else { throw MigrationError.unexpected("a PING before the return path") }
            if value == PeerGreeting.ping { isApusSource = true }
            if value == MainChannel.readyPing && isApusSource {
                // The guest is about to be paused, and what is done for that here is not to be done then.
                migration.runtime.setUrgency(.urgent)
                if let channel { migration.runtime.keepApart(as: .destination, over: channel) }
                rehearseLoading(into: machine)
            }
            try send(.pong(value == PeerGreeting.ping ? PeerGreeting.pong : value))
        case .localMemory(let blocks): try adopt(blocks)
        case .machineDescription(let description):
            guard isApusSource else { throw MigrationError.unexpected("command \(command.number)") }
            if let here = try machine.describe(),
                let obstacle = MachineComparison.obstacle(here: here, stream: description)
            {
                throw MigrationError.machineDiffers(obstacle)
            }
        case .switchoverStart: break
        case .postcopyAdvise(let advice?): try prepare(for: advice)
        case .postcopyDiscard(let discard): try forget(discard)
        default: throw MigrationError.unexpected("command \(command.number)")
        }
    }

    // MARK: Pages

    private func load(_ run: PageRun, in bytes: UnsafeRawBufferPointer) throws {
        let region = regions[run.block.index]
        // Memory that came as it is may be the running guest's.
        if adoptedRegions.contains(region) { throw MigrationError.unexpected("pages of memory that was handed over") }
        switch run.content {
        case .fill(let byte):
            try memory.fill(region: region, offset: run.blockOffset, pageCount: run.pageCount, with: byte)
        case .plain:
            let target = try memory.target(region: region, offset: run.blockOffset, pageCount: run.pageCount)
            guard let to = target.baseAddress, let from = bytes.baseAddress else { return }
            var source = from + run.records.lowerBound + run.firstHeaderByteCount
            for index in 0..<run.pageCount {
                (to + index * pageSize).copyMemory(from: source, byteCount: pageSize)
                source += run.recordByteCount
            }
        }
    }

    /// Receives what follows a run at the end of the buffer without that buffer.
    private func receive(after run: PageRun, _ reader: ChannelReader) throws {
        guard run.pageCount > 1, !reader.hasEnded else { return }
        let region = regions[run.block.index]
        decoder.passOver(pageCount: try runReceiver.receive(region: region, from: run.endOffset, reader))
    }

    private func apply(_ page: EncodedPage, in bytes: UnsafeRawBufferPointer) throws {
        let target = try memory.target(region: regions[page.block.index], offset: page.blockOffset, pageCount: 1)
        var span = target.mutableBytes
        do {
            try XBZRLE.apply(UnsafeRawBufferPointer(rebasing: bytes[page.payload]).bytes, to: &span)
        } catch {
            throw MigrationError.stream(error, address: channel?.address ?? "")
        }
    }

    private func endRAMSection() throws {
        try beginPages()
        if dialect.channelCount > 0 && dialect.sync == .eachSection { try waitForSync() }
    }

    private func waitForSync() throws {
        try connections.waitForChannels()
        _ = try connections.wait { try connections.multifd.releaseSync() }
    }

    // MARK: Devices and the end

    private func load(
        _ payload: DevicePayload, _ state: (any DeviceState)?, in bytes: UnsafeRawBufferPointer
    ) throws {
        let section = payload.section
        if postcopy?.receiver == nil && !hasDevices {
            // The guest stands still from here on, or for longer.
            migration.runtime.setUrgency(.urgent)
            migration.enter(.deviceState)
        }
        hasDevices = true
        try machine.loadDeviceState(
            DeviceSection(section, UnsafeRawBufferPointer(rebasing: bytes[payload.bytes]), decoded: state))
    }

    /// Takes the locks of all disks, or none.
    func takeDisks() throws {
        let disks = machine.disks
        for (index, disk) in disks.enumerated() {
            do {
                try disk.takeLock()
            } catch {
                // It was taken a moment ago; the source needs it back, and a failure to give it up is not ours to cure.
                for taken in disks.prefix(index) { try? taken.releaseLock() }
                throw MigrationError.disk("\(disk.kind) \(disk.name)", reason: "\(error)")
            }
        }
    }

    /// Tells the source how it ended, if it listens: 0 is well.
    func answer(code: UInt32, because reason: String? = nil) {
        guard hasReturnPath else { return }
        if let reason, isApusSource { tell(.refusal(Self.shortened(reason))) }
        if let postcopy { return postcopy.answers.send(.shut(code)) }
        // A source that cannot be told finds out by the locks or does not go on: see `IncomingMigration.run`.
        try? send(.shut(code))
    }

    /// Tells how long the guest took to run here, which the source counts as downtime.
    func tellArrival(resume: Duration, announce: Duration) {
        guard isApusSource else { return }
        func nanoseconds(_ duration: Duration) -> UInt64 { UInt64(max(0, duration / .nanoseconds(1))) }
        tell(.arrival(resumeNanoseconds: nanoseconds(resume), announceNanoseconds: nanoseconds(announce)))
    }

    /// Says something that the source can do without.
    private func tell(_ message: ReturnPathMessage) { try? send(message) }

    /// The text as far as a message can hold it, in whole characters.
    private static func shortened(_ text: String) -> String {
        var text = text
        while text.utf8.count > ReturnPathMessage.maximumRefusalByteCount { text.removeLast() }
        return text
    }

    private func send(_ message: ReturnPathMessage) throws {
        guard let channel else { return }
        if let postcopy { return postcopy.answers.send(message) }
        var bytes = [UInt8](repeating: 0, count: message.byteCount)
        do {
            try bytes.withUnsafeMutableBytes { buffer in
                var writer = StreamWriter(buffer.mutableBytes)
                message.write(source: UnsafeRawBufferPointer(start: nil, count: 0).bytes, into: &writer)
                var vectors = MemoryVectors(capacity: 1)
                vectors.append(UnsafeRawBufferPointer(buffer))
                _ = try channel.send(&vectors)
            }
        } catch let error as ChannelError {
            throw MigrationError.channel(error)
        }
    }

    /// Reads what follows the end of the stream, so that a source which still sends it does not see a closed connection.
    ///
    /// Nothing depends on it.
    func readDescription() {
        guard let reader else { return }
        cutOff(reader.channel) { while (try? loadNext(reader)) == true {} }
    }

    /// After a failure, lets the source read that answer: what it still sends is thrown away until it ends, because a
    /// connection closed with unread bytes takes the answer with it. A source that goes on for too long is cut off.
    func drain() {
        guard hasReturnPath, let channel else { return }
        if let receiver = postcopy?.receiver { return drain(receiver, channel) }
        cutOff(channel) {
            let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
            while let count = try? channel.receive(into: scratch), count > 0 {}
            scratch.deallocate()
        }
    }

    /// Lets `body` read from a channel, which is shut down if that takes too long.
    func cutOff(_ channel: any MigrationChannel, _ body: () -> Void) {
        let isDone = migration.runtime.makeGate()
        let runtime = migration.runtime
        let watch = try? runtime.startThread("migration-drain") {
            if !isDone.wait(until: runtime.now() + .seconds(2)) { channel.shutDown() }
        }
        if watch == nil { channel.shutDown() }
        body()
        isDone.open()
        watch?.join()
    }

    /// Ends all connections and their threads.
    func end() {
        connections.close()
        connections.join()
    }
}

extension StreamOptions {
    /// For a stream that is loaded: what its description says is of no interest, except where nothing else tells how long
    /// a section is.
    static var incoming: StreamOptions {
        var options = StreamOptions()
        options.checksDescription = false
        return options
    }
}
