import LinuxSystem
import MigrationStream
import StreamTools
import Testing

@Suite("Rewriting a stream") struct RewriteTests {
    @Test(arguments: Fixture.channels.filter { !Fixture.cutChannels.contains($0) })
    func `gives the same bytes`(channel: String) throws {
        let workspace = try Workspace()
        let bytes = try Fixture.load(channel)
        let (rewritten, report) = try workspace.rewrite(bytes)
        #expect(rewritten == bytes)
        #expect(report.changedElementCount == 0)
        #expect(report.readByteCount == bytes.count)
        #expect(report.writtenByteCount == bytes.count)
    }

    @Test(arguments: Fixture.channels.filter { $0.hasPrefix("microvm") })
    func `loads and saves the state of every device of a microvm`(channel: String) throws {
        let report = try Workspace().rewrite(try Fixture.load(channel)).1
        #expect(report.encodedDeviceCount > 0)
        // Those with a network were recorded with slirp, the user-mode network of QEMU's own.
        #expect(report.copiedDeviceCount == (channel.contains("virtio") ? 1 : 0))
    }

    @Test(arguments: [1, 7, 4099])
    func `gives the same bytes when they come in small pieces`(pieceByteCount: Int) throws {
        let workspace = try Workspace()
        let bytes = SmallStream(
            firstPass: [.plain("ram", 0, 1), .zero("ram", 1), .plain("ram", 2, 2), .plain("rom", 0, 3)],
            secondPass: [.delta("ram", 2, [0, 2, 9, 9])]
        ).bytes
        let pipe = try OwnedDescriptor.pipe()
        let writing = try pipe.writing.duplicate().release()
        let reading = try pipe.reading.duplicate()
        _ = consume pipe
        let feeder = try BlockingThread(name: "feeder") {
            let descriptor = OwnedDescriptor(adopting: writing)
            for start in stride(from: 0, to: bytes.count, by: pieceByteCount) {
                let piece = bytes[start..<min(bytes.count, start + pieceByteCount)]
                try? descriptor.write(all: piece.span.bytes)
            }
        }
        let output = try OwnedDescriptor(opening: workspace.path("out"), for: .replacing)
        let report = try StreamRewriter.rewrite(
            StreamInput(adopting: reading, name: "pipe", bufferByteCount: 64), to: StreamOutput(adopting: output))
        feeder.join()
        #expect(try workspace.read("out") == bytes)
        #expect(report.xbzrlePageCount == 1)
    }

    @Test func `turns plain pages of zeros into zero records, and names blocks where they were named`() throws {
        let stream = SmallStream(
            firstPass: [
                .plain("ram", 0, 0), .plain("ram", 1, 5), .plain("ram", 2, 0), .plain("ram", 3, 0),
                .plain("rom", 0, 0), .plain("rom", 1, 6), .zero("rom", 2),
            ], secondPass: [.plain("ram", 4, 0)])
        let expected = SmallStream(
            firstPass: [
                .zero("ram", 0), .plain("ram", 1, 5), .zero("ram", 2), .zero("ram", 3), .zero("rom", 0),
                .plain("rom", 1, 6), .zero("rom", 2),
            ], secondPass: [.zero("ram", 4)])
        let (rewritten, report) = try Workspace().rewrite(stream.bytes, .init(convertsZeroPages: true))
        #expect(rewritten == expected.bytes)
        #expect(report.convertedPageCount == 5)
        #expect(report.writtenByteCount == expected.bytes.count)
    }

    @Test func `leaves pages of zeros alone unless told otherwise`() throws {
        let bytes = SmallStream(firstPass: [.plain("ram", 0, 0)]).bytes
        let (rewritten, report) = try Workspace().rewrite(bytes)
        #expect(rewritten == bytes)
        #expect(report.convertedPageCount == 0)
    }

    @Test func `writes all that came before the damage`() throws {
        let workspace = try Workspace()
        let whole = SmallStream(firstPass: [.plain("ram", 0, 1), .plain("ram", 1, 2)])
        let sound = Array(whole.bytes.prefix(whole.bytes.count - whole.bytes.count / 2))
        let damaged = sound + [0xFF]
        #expect(throws: StreamError.self) {
            let output = StreamOutput(adopting: try OwnedDescriptor(opening: workspace.path("out"), for: .replacing))
            return try StreamRewriter.rewrite(
                StreamInput(opening: workspace.write(damaged, as: "in")), to: output)
        }
        let written = try workspace.read("out")
        #expect(written.count > 100 && sound.starts(with: written))
    }

    @Test func `refuses what is no stream, with its first bytes`() throws {
        let error = #expect(throws: UnknownChannel.self) { try Workspace().rewrite(Array("hello, world".utf8)) }
        #expect(error?.description.contains("68 65 6c 6c 6f 2c 20 77") == true)
        #expect(throws: UnknownChannel.self) { try Workspace().rewrite([]) }
    }

    @Test func `refuses a multifd packet whose compressed data is damaged`() throws {
        let damaged = try MultifdRecording(compression: .zlib).channels[0].enumerated().map {
            $0.offset == 64 + 1344 + 1344 ? $0.element ^ 0x55 : $0.element
        }
        #expect(throws: (any Error).self) { try Workspace().rewrite(damaged) }
    }
}
