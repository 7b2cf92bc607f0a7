internal import GuestMemory
internal import LinuxSystem
internal import MigrationStream

/// Writes the main channel of an outgoing migration: everything but the pages of multifd channels.
///
///     header · configuration [· OPEN_RETURN_PATH · PING] · START ram · PART ram … · END ram · FULL … · end · description
///
/// Used by the main thread.
final class MainChannel {
    let channel: any MigrationChannel
    let pages: StreamPageWriter
    let delta: DeltaEncoder?
    let output: StreamOutput
    private let dialect: StreamDialect
    private let validatesUUID: Bool
    private var nextDeviceSectionID = MainChannel.firstDeviceSectionID
    static let ramSectionID: UInt32 = 2
    static let firstDeviceSectionID: UInt32 = 4
    /// Asks the destination, before the guest is paused, to take in what it was sent and to be ready. QEMU answers as well.
    static let readyPing: UInt32 = 5

    init(channel: any MigrationChannel, control: OutgoingControl, options: MigrationOptions) {
        self.channel = channel
        dialect = options.dialect
        validatesUUID = options.validatesUUID
        output = StreamOutput(channel: channel, control: control, isMultifd: false)
        delta =
            options.dialect.channelCount == 0
            ? options.xbzrleCacheByteCount.map { DeltaEncoder(byteCount: $0) } : nil
        pages = StreamPageWriter(
            output: output, counters: control.counters, findsZeroPages: options.dialect.zeroPages != .none,
            delta: delta)
    }

    /// Whether pages wait for the bandwidth limit.
    var isLimited: Bool {
        get { output.isLimited }
        set { output.isLimited = newValue }
    }

    func flush() throws { try output.flush() }

    /// A RAM block that the destination gets as it is.
    struct SharedBlock {
        let memory: LocalMemory
        let file: PassedDescriptor
    }

    /// Writes the header and the configuration, and sends them.
    func writeStart(machine: any MigratableMachine) throws {
        var subsections: [ConfigurationSubsection] = []
        // A destination that does not know the capability refuses it by its name.
        if dialect.isLocal { subsections.append(.capabilities([StreamCapability.local])) }
        if validatesUUID && machine.uuid != .none { subsections.append(.uuid(machine.uuid)) }
        let byteCount = 13 + machine.machineName.utf8.count + subsections.reduce(0) { $0 + $1.byteCount }
        try output.write(byteCount: byteCount) { writer in
            StreamEncoder.writeHeader(into: &writer)
            StreamEncoder.writeConfiguration(
                machine: machine.machineName, subsections: subsections, into: &writer)
        }
        try output.flush()
    }

    /// Sends memory as it is. Nothing must be waiting to be sent.
    func sendMemory(_ shared: [SharedBlock]) throws {
        let command = StreamCommand.localMemory(shared.map(\.memory))
        var bytes = [UInt8](repeating: 0, count: command.byteCount)
        bytes.withUnsafeMutableBytes { buffer in
            var writer = StreamWriter(buffer.mutableBytes)
            command.write(into: &writer)
        }
        do { try channel.send(bytes, passing: shared.map(\.file)) } catch { throw MigrationError.channel(error) }
    }

    /// Writes commands and sends them.
    func writeCommands(_ commands: [StreamCommand]) throws {
        for command in commands { try output.write(byteCount: command.byteCount) { command.write(into: &$0) } }
        try output.flush()
    }

    /// Writes START ram with the list of blocks, and sends it; `sync` makes the channels send a sync.
    func writeBlockList(machine: any MigratableMachine, syncsChannels: Bool, sync: () throws -> Void) throws {
        let table = RAMBlockTable(
            machine.regions.map { RAMBlockDescription(name: $0.block.name, usedByteCount: $0.block.byteCount) })
        let header = SectionHeader(kind: .start, id: Self.ramSectionID, name: "ram", instance: 0, version: 4)
        try output.write(byteCount: header.byteCount) { header.write(into: &$0) }
        try output.write(byteCount: StreamEncoder.blockListByteCount(table)) { writer in
            StreamEncoder.writeBlockList(table, into: &writer)
        }
        if syncsChannels { try sync() }
        try endSection(syncsChannels: syncsChannels)
    }

    /// Begins a part of the `ram` section, or its end.
    func beginPages(_ kind: SectionHeader.Kind) throws {
        let header = SectionHeader(kind: kind, id: Self.ramSectionID, name: "ram", instance: 0, version: 4)
        try output.write(byteCount: header.byteCount) { header.write(into: &$0) }
    }

    /// Ends a part of the `ram` section and sends it. The channels have sent their sync if `syncsChannels`.
    func endSection(syncsChannels: Bool) throws {
        try output.write(byteCount: 21) { writer in
            if syncsChannels && dialect.sync == .eachRound {
                StreamEncoder.writeRecord(.multifdFlush, into: &writer)
            }
            StreamEncoder.writeRecord(.endOfSection, into: &writer)
            StreamEncoder.writeFooter(sectionID: Self.ramSectionID, into: &writer)
        }
        try output.flush()
    }

    /// Writes pages of zeros that multifd channels found.
    func writeZeroPages(_ runs: [ZeroPageQueue.Run], tracker: DirtyTracker) throws {
        for run in runs {
            let block = tracker.block(run.region)
            try pages.writeZeros(
                region: run.region, block: block, offset: run.first * pageSize, count: run.pageCount)
        }
    }

    /// Writes the section of a device. Sends it once it is worth the call, so that the destination has something to do
    /// while the next is saved.
    func writeDevice(_ section: DeviceSection) throws {
        let id = nextDeviceSectionID
        let header = SectionHeader(
            kind: .full, id: id, name: section.name, instance: section.instance, version: section.version)
        try output.write(byteCount: header.byteCount) { header.write(into: &$0) }
        try output.append(copying: section.state)
        try output.write(byteCount: 5) { StreamEncoder.writeFooter(sectionID: id, into: &$0) }
        nextDeviceSectionID += 1
        if output.waitingByteCount >= Self.deviceByteCount { try output.flush() }
    }

    /// A virtual CPU is about that long.
    private static let deviceByteCount = 2 << 10

    /// Whether the channel has refused to take any byte of what was to be sent last.
    var hasFailedWhole: Bool { output.hasFailedWhole }

    /// Writes the end of the stream and sends it: the destination may then have all that it needs.
    func writeEnd() throws {
        try output.write(byteCount: 1) { StreamEncoder.writeEndOfStream(into: &$0) }
        try output.flush()
    }

    /// Writes the description behind the end, and sends it.
    func writeDescription(_ description: String) throws {
        let text = Array(description.utf8)
        try output.write(byteCount: 5) { StreamEncoder.writeDescriptionHeader(byteCount: text.count, into: &$0) }
        try output.append(copying: text)
        try output.flush()
    }
}
