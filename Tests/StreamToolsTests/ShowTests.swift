import MigrationStream
import StreamTools
import Testing

@Suite("Showing a stream") struct ShowTests {
    private let stream = SmallStream(
        firstPass: [.plain("ram", 1, 1), .plain("ram", 2, 2), .zero("ram", 3), .zero("rom", 0)],
        secondPass: [.delta("ram", 2, [0, 1, 5]), .plain("ram", 1, 7)], clock: 42)

    @Test func `counts pages by block and kind`() throws {
        guard case .stream(let summary) = try Workspace().scan(stream.bytes) else {
            Issue.record("no main channel")
            return
        }
        #expect(summary.machine == "microvm")
        #expect(summary.byteCount == stream.bytes.count)
        #expect(summary.blocks.map(\.name) == ["ram", "rom"])
        #expect(summary.blocks.map(\.plainPageCount) == [3, 0])
        #expect(summary.blocks.map(\.zeroPageCount) == [1, 1])
        #expect(summary.blocks.map(\.xbzrlePageCount) == [1, 0])
        #expect(summary.blocks.map(\.sentPages.count) == [3, 1])
        #expect(summary.sections.map(\.name) == ["ram", "timer"])
        #expect(summary.sections.map(\.partCount) == [3, 1])
        #expect(summary.hasEndMark && summary.failure == nil)
    }

    @Test func `names the fields of devices`() throws {
        let summary = try Workspace().scan(stream.bytes)
        #expect(summary.text().contains("timer instance 0 version 2, 24 bytes\n"))
        #expect(summary.text().contains("  cpu_clock_offset = 42\n"))
        #expect(!summary.text(.init(showsFields: false)).contains("cpu_clock_offset"))
        #expect(!summary.text(.init(sections: ["serial"])).contains("timer"))
    }

    @Test func `is JSON that can be read again`() throws {
        let text = try Workspace().scan(stream.bytes).json().text
        let value = try JSONValue(utf8: Array(text.utf8))
        #expect(value["machine"]?.string == "microvm")
        #expect(value["devices"]?.array?.first?["fields"]?["cpu_clock_offset"]?.integer == 42)
        #expect(value["blocks"]?.array?.first?["unsent-pages"]?.integer == 13)
        #expect(value["failure"] == .null)
    }

    @Test func `reads the state in a post-copy's package with what is built in`() throws {
        let summary = try Workspace().scan(Fixture.load("postcopy-early.ch0.c2s"))
        let text = summary.text()
        #expect(text.contains("post-copy advise: page sizes 0x1000, target 0x1000"))
        #expect(text.contains("  post-copy run"))
        #expect(text.contains("env.eip = 0xfff0"))
        #expect(summary.problems.isEmpty)
    }

    @Test(arguments: [
        ("uuid-multifd.ch1.c2s", "multifd channel 0, 208832 bytes, 6 packets, 49 pages, 3 syncs"),
        ("q10-multifd.ch2.c2s", "multifd channel 0, 293504 bytes, 69 packets, 8209 pages, 3 syncs"),
        ("returnpath.ch0.s2c", "return path, 16 bytes, 2 messages, 0 page requests"),
        ("run-recover.ch0.s2c", "return path, 393012 bytes, 24564 messages, 24560 page requests"),
        ("run-recover-preempt.ch1.c2s", "preempt channel, 41144 bytes, 0 sections, 10 page records"),
    ])
    func `knows the other channels`(name: String, headline: String) throws {
        let summary = try Workspace().scan(Fixture.load(name))
        #expect(summary.headline == headline)
        #expect(summary.failure == nil)
    }

    @Test func `pages far apart in many blocks do not fill memory`() throws {
        // One record at the end of a block of 1 PiB: counting which pages came is given up, the rest is told.
        guard case .stream(let summary) = try Workspace().scan(hugeBlockStream()) else {
            Issue.record("no main channel")
            return
        }
        #expect(summary.blocks.first?.zeroPageCount == 1)
        #expect(summary.blocks.first?.sentPages.count == nil)
    }

    private func hugeBlockStream() -> [UInt8] {
        let size: UInt64 = 1 << 50
        let footer = big(0x10 as UInt64) + [0x7E] + big(2 as UInt32)
        let start: [UInt8] = big(migrationStreamMagic) + big(3 as UInt32) + [7] + big(2 as UInt32) + Array("pc".utf8)
        let list: [UInt8] =
            [1] + big(2 as UInt32) + name("ram") + big(0 as UInt32) + big(4 as UInt32) + big(size | 4) + name("big")
            + big(size) + footer
        let part: [UInt8] = [3] + big(2 as UInt32) + big((size - 4096) | 2) + name("big") + [0] + footer
        return start + list + part + [0]
    }
}

@Suite("Checking a stream") struct CheckTests {
    @Test(arguments: Fixture.channels)
    func `says whether a recorded channel is whole`(name: String) throws {
        let summary = try Workspace().scan(Fixture.load(name))
        #expect((summary.failure != nil) == Fixture.cutChannels.contains(name), "\(summary.failure ?? "")")
        #expect(summary.problems == [])
    }

    @Test func `says so of every truncation of a small stream, and where`() throws {
        let bytes = SmallStream(firstPass: [.zero("ram", 1), .zero("rom", 2)]).bytes
        let workspace = try Workspace()
        let description = SmallStream.description.utf8.count + 5
        for length in stride(from: 8, to: bytes.count, by: 1) where length != bytes.count - description {
            let failure = try workspace.scan(Array(bytes.prefix(length))).failure
            #expect(failure?.contains("offset ") == true, "\(length) bytes: \(failure ?? "whole")")
        }
    }

    @Test func `finds an XBZRLE update that does not fit its page`() throws {
        let bytes = SmallStream(firstPass: [.plain("ram", 1, 1)], secondPass: [.delta("ram", 1, [0, 0])]).bytes
        let failure = try Workspace().scan(bytes).failure
        #expect(failure?.contains("The page at 0x1000 of ram cannot be read") == true, "\(failure ?? "whole")")
    }

    @Test func `finds state that is not what the description says`() throws {
        var bytes = SmallStream().bytes
        // The size of cpu_clock_offset: 8 becomes 9.
        let wrong = SmallStream.description.replacing(#""size": 8}]}"#, with: #""size": 9}]}"#)
        bytes.replaceSubrange((bytes.count - wrong.utf8.count)..., with: Array(wrong.utf8))
        let summary = try Workspace().scan(bytes)
        let lines = summary.problems + [summary.failure ?? ""]
        #expect(lines.contains { $0.contains("timer") }, "\(lines)")
    }

    @Test func `finds a damaged compressed multifd packet`() throws {
        var bytes = try MultifdRecording(compression: .zstd).channels[0]
        // The frame's magic: behind the hello, the packet that only syncs, and the header of the packet with pages.
        bytes[64 + 1344 + 1344] ^= 0xFF
        let failure = try Workspace().scan(bytes).failure
        #expect(failure?.contains("Packet 1 cannot be read") == true, "\(failure ?? "whole")")
    }
}
