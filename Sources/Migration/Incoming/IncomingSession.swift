internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream

/// One run of an incoming migration: reads the main channel and loads what it holds.
final class IncomingSession {
    private let migration: IncomingMigration
    private let machine: any MigratableMachine
    private let dialect: StreamDialect
    private let connections: IncomingConnections
    private let memory: ReceivedMemory
    private let runReceiver: RunReceiver
    private var channel: (any MigrationChannel)?
    private var decoder = StreamDecoder()
    /// Whether the source wants answers.
    private var hasReturnPath = false
    private var hasBegun = false
    /// The region of each block of the stream's list.
    private var regions: [Int] = []

    init(migration: IncomingMigration) {
        self.migration = migration
        machine = migration.machine
        dialect = migration.dialect
        connections = migration.connections
        memory = migration.connections.multifd.memory
        runReceiver = RunReceiver(memory: memory)
    }

    /// Loads the guest; whether it ran at the source.
    func load() throws -> Bool {
        try connections.start()
        let channel = try connections.waitForMain()
        self.channel = channel
        let reader = ChannelReader(channel: channel, capacity: 512 << 10)
        // The connection was recognized by its first four bytes, which have been taken.
        reader.append(migrationStreamMagic)
        while try loadNext(reader) {}
        return try machine.finishLoading()
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
        case .element(let element, let byteCount):
            let goesOn = try load(element, in: reader.unreadBytes)
            reader.skip(byteCount)
            if case .pages(let run) = element, run.content == .plain { try receive(after: run, reader) }
            return goesOn
        }
    }

    private func load(_ element: StreamElement, in bytes: UnsafeRawBufferPointer) throws -> Bool {
        switch element {
        case .header, .footer, .ramBlockList: break
        case .configuration(let name):
            guard name == machine.machineName else {
                throw MigrationError.machineMismatch(here: machine.machineName, stream: name)
            }
        case .configurationSubsection(let subsection): try check(subsection)
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
        case .deviceState(let payload): try load(payload, in: bytes)
        case .endOfStream: break
        case .description: return false
        case .compressedPage: throw MigrationError.unexpected("compressed pages")
        case .mappedRAM: throw MigrationError.unexpected("a mapped-ram file")
        case .rdmaHook: throw MigrationError.unexpected("an RDMA hook")
        case .package: throw MigrationError.unexpected("a post-copy package")
        }
        return true
    }

    // MARK: What both sides must have in common

    private func check(_ subsection: ConfigurationSubsection) throws {
        switch subsection {
        case .targetPageBits(let bits):
            guard bits == 12 else { throw MigrationError.pageSizeMismatch(hereBits: 12, streamBits: bits) }
        case .capabilities(let names):
            if let name = names.first { throw MigrationError.capabilityMismatch(name) }
        case .uuid(let uuid):
            guard machine.uuid == .none || machine.uuid == uuid else {
                throw MigrationError.uuidMismatch(here: "\(machine.uuid)", stream: "\(uuid)")
            }
        case .unknown(let name, _, _): throw MigrationError.unknownConfiguration(name)
        }
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

    private func perform(_ command: StreamCommand) throws {
        switch command {
        case .openReturnPath:
            guard let channel, channel.isBidirectional else {
                throw MigrationError.unexpected("a return path on a connection that has no other direction")
            }
            hasReturnPath = true
        case .ping(let value):
            guard hasReturnPath else { throw MigrationError.unexpected("a PING before the return path") }
            try send(.pong(value))
        case .switchoverStart: break
        default: throw MigrationError.unexpected("command \(command.number)")
        }
    }

    // MARK: Pages

    private func load(_ run: PageRun, in bytes: UnsafeRawBufferPointer) throws {
        let region = regions[run.block.index]
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

    private func load(_ payload: DevicePayload, in bytes: UnsafeRawBufferPointer) throws {
        let section = payload.section
        migration.enter(.deviceState)
        try machine.loadDeviceState(
            DeviceSection(
                name: section.name, instance: section.instance, version: section.version,
                state: Array(bytes[payload.bytes])))
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
                throw MigrationError.disk(disk.name, reason: "\(error)")
            }
        }
    }

    /// Tells the source how it ended, if it listens: 0 is well.
    func answer(code: UInt32) {
        guard hasReturnPath else { return }
        // A source that cannot be told finds out by the locks or does not go on: see `IncomingMigration.run`.
        try? send(.shut(code))
    }

    private func send(_ message: ReturnPathMessage) throws {
        guard let channel else { return }
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

    /// After a failure, lets the source read that answer: what it still sends is thrown away until it ends, because a
    /// connection closed with unread bytes takes the answer with it. A source that goes on for too long is cut off.
    func drain() {
        guard hasReturnPath, let channel else { return }
        let isDone = migration.runtime.makeGate()
        let runtime = migration.runtime
        let watch = try? runtime.startThread("migration-drain") {
            if !isDone.wait(until: runtime.now() + .seconds(2)) { channel.shutDown() }
        }
        guard let watch else { return }
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        while let count = try? channel.receive(into: scratch), count > 0 {}
        scratch.deallocate()
        isDone.open()
        watch.join()
    }

    /// Ends all connections and their threads.
    func end() {
        connections.close()
        connections.join()
    }
}
