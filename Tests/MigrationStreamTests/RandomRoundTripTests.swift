import MigrationStream
import Testing

/// Values from a seed, written and read again. A failure names its seed.
@Suite("Random values") struct RandomRoundTripTests {
    static let seeds = 0..<300 as Range<UInt64>

    @Test func `come back as commands`() throws {
        for seed in Self.seeds {
            var generator = SeededGenerator(seed: seed)
            let commands = (0..<10).map { _ in StreamCommand.random(using: &generator) }
            let bytes = write(byteCount: commands.reduce(0) { $0 + $1.byteCount }) { writer in
                for command in commands { command.write(into: &writer) }
            }
            let decoded = try decode(bytes, options: StreamOptions(kind: .package))
            #expect(decoded.elements == commands.map { .command($0) }, "seed \(seed)")
        }
    }

    @Test func `come back as sections`() throws {
        for seed in Self.seeds {
            var generator = SeededGenerator(seed: seed)
            let section = SectionHeader(
                kind: .full, id: generator.next32(), name: generator.name(),
                instance: generator.next32(), version: UInt32.random(in: 0...256, using: &generator))
            let state = (0..<Int.random(in: 0...300, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            let bytes = write(byteCount: section.byteCount + state.count + 5) { writer in
                section.write(into: &writer)
                writer.write(state)
                StreamEncoder.writeFooter(sectionID: section.id, into: &writer)
            }
            let decoded = try decode(bytes, options: StreamOptions(kind: .package))
            #expect(
                decoded.elements == [
                    .section(section),
                    .deviceState(
                        DevicePayload(section: section, bytes: 0..<state.count, delimitation: .search)),
                    .footer(sectionID: section.id),
                ], "seed \(seed)")
        }
    }

    @Test func `come back as configurations`() throws {
        for seed in Self.seeds {
            var generator = SeededGenerator(seed: seed)
            let machine = generator.name()
            let subsections: [ConfigurationSubsection] = [
                .targetPageBits(UInt32.random(in: 12...16, using: &generator)),
                .capabilities((0..<Int.random(in: 0...9, using: &generator)).map { _ in generator.name() }),
                .uuid(MachineUUID(high: generator.next(), low: generator.next())),
            ]
            let count = subsections.reduce(8 + 5 + machine.utf8.count + 1) { $0 + $1.byteCount }
            let bytes = write(byteCount: count) { writer in
                StreamEncoder.writeHeader(into: &writer)
                StreamEncoder.writeConfiguration(machine: machine, subsections: subsections, into: &writer)
                StreamEncoder.writeEndOfStream(into: &writer)
            }
            let decoded = try decode(bytes)
            #expect(decoded.decoder.machine == machine, "seed \(seed)")
            #expect(decoded.decoder.configuration == subsections, "seed \(seed)")
        }
    }

    @Test func `come back as messages of the return path`() throws {
        for seed in Self.seeds {
            var generator = SeededGenerator(seed: seed)
            let messages = (0..<10).map { _ in ReturnPathMessage.random(using: &generator) }
            let bytes = write(byteCount: messages.reduce(0) { $0 + $1.byteCount }) { writer in
                let empty: [UInt8] = []
                for message in messages { message.write(source: empty.span.bytes, into: &writer) }
            }
            #expect(try ReturnPathTests.decode(bytes) == messages, "seed \(seed)")
        }
    }

    @Test func `come back as multifd packets`() throws {
        for seed in Self.seeds.prefix(60) {
            var generator = SeededGenerator(seed: seed)
            let counts = (Int.random(in: 0...3, using: &generator), Int.random(in: 0...125, using: &generator))
            let flags: [MultifdFlags] = [[], .sync, MultifdFlags(rawValue: 1 << 1), MultifdFlags(rawValue: 2 << 1)]
            let packet = MultifdPacket(
                flags: flags.randomElement(using: &generator) ?? [], packetNumber: generator.next(),
                block: generator.name(), normalOffsets: generator.offsets(counts.0),
                zeroOffsets: generator.offsets(counts.1), dataByteCount: counts.0 * 4096)
            let data = [UInt8](repeating: UInt8(truncatingIfNeeded: seed), count: packet.dataByteCount)
            let bytes = write(byteCount: packet.byteCount) { packet.write(into: &$0) } + data
            #expect(
                try MultifdTests.decode(MultifdTests.hello + bytes).last
                    == .packet(packet, data: 1344..<(1344 + data.count)), "seed \(seed)")
        }
    }
}

extension SeededGenerator {
    mutating func next32() -> UInt32 { UInt32(truncatingIfNeeded: next()) }

    /// A name of 1 to 255 printable characters, no blanks.
    mutating func name() -> String {
        let count = Int.random(in: 1...(Bool.random(using: &self) ? 20 : 255), using: &self)
        return String(decoding: (0..<count).map { _ in UInt8.random(in: 0x21...0x7e, using: &self) }, as: UTF8.self)
    }

    mutating func offsets(_ count: Int) -> [UInt64] { (0..<count).map { _ in next() & ~0xfff } }
}

extension StreamCommand {
    fileprivate static func random(using generator: inout SeededGenerator) -> StreamCommand {
        switch Int.random(in: 0..<13, using: &generator) {
        case 0: .openReturnPath
        case 1: .ping(generator.next32())
        case 2:
            .postcopyAdvise(
                PostcopyAdvice(pageSizeSummary: generator.next(), targetPageByteCount: generator.next()))
        case 3: .postcopyAdvise(nil)
        case 4: .postcopyListen
        case 5: .postcopyRun
        case 6:
            .postcopyDiscard(
                RAMDiscard(
                    block: generator.name(),
                    ranges: (0..<Int.random(in: 1...12, using: &generator)).map { _ in
                        RAMDiscard.Range(blockOffset: generator.next(), byteCount: generator.next())
                    }))
        case 7: .postcopyResume
        case 8: .receivedBitmap(block: generator.name())
        case 10:
            .localMemory(
                (0..<Int.random(in: 0...3, using: &generator)).map { _ in
                    LocalMemory(block: generator.name(), fileOffset: generator.next(), byteCount: generator.next())
                })
        case 9:
            .machineDescription(
                MachineDescription(
                    cpuCount: generator.next32(),
                    devices: (0..<Int.random(in: 0...9, using: &generator)).map { _ in generator.name() },
                    processor: (0..<Int.random(in: 0...5, using: &generator)).map { _ in
                        .init(
                            leaf: generator.next32(), subleaf: generator.next32(), register: .ecx,
                            bits: generator.next32())
                    }))
        default: .switchoverStart
        }
    }
}

extension ReturnPathMessage {
    fileprivate static func random(using generator: inout SeededGenerator) -> ReturnPathMessage {
        switch Int.random(in: 0..<8, using: &generator) {
        case 0: .shut(generator.next32())
        case 1: .pong(generator.next32())
        case 2:
            .pageRequest(
                PageRequest(block: generator.name(), blockOffset: generator.next(), byteCount: generator.next32()))
        case 3: .pageRequest(PageRequest(block: nil, blockOffset: generator.next(), byteCount: generator.next32()))
        case 4: .resumeAcknowledged(generator.next32())
        case 5: .refusal(generator.name())
        case 6: .arrival(resumeNanoseconds: generator.next(), announceNanoseconds: generator.next())
        default: .switchoverAcknowledged
        }
    }
}
