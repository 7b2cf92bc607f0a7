import LinuxSystem
import MigrationStream
import StreamTools
import Testing

/// Damaged input is an error or a value for the tools as well: none traps, and none hangs.
@Suite("Hostile streams") struct HostileTests {
    /// No plain page: of those every bit flip is the same.
    private let stream = SmallStream(
        firstPass: [.zero("ram", 1), .zero("ram", 2), .zero("rom", 0)], secondPass: [.delta("ram", 2, [1, 2, 8, 9])]
    ).bytes

    private func useAll(_ bytes: [UInt8]) throws {
        var input = StreamInput(bytes: bytes, name: "hostile")
        do {
            let summary = try ChannelSummary(scanning: &input)
            _ = summary.text().utf8.count + summary.json().text.utf8.count + summary.problems.count
        } catch is UnknownChannel {}
        let output = StreamOutput(adopting: try OwnedDescriptor(opening: "/dev/null", for: .replacing))
        do {
            _ = try StreamRewriter.rewrite(
                StreamInput(bytes: bytes, name: "hostile"), to: output, options: .init(convertsZeroPages: true))
        } catch is StreamError {} catch is UnknownChannel {} catch {
            // Other errors have a text of their own; that they are thrown is what counts.
            #expect(!"\(error)".isEmpty)
        }
    }

    @Test func `every bit of a main channel flipped`() throws {
        for bit in 0..<stream.count * 8 {
            var damaged = stream
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            try useAll(damaged)
        }
    }

    @Test func `every byte of a main channel left out, or doubled`() throws {
        for index in stream.indices {
            var shorter = stream
            shorter.remove(at: index)
            try useAll(shorter)
            var longer = stream
            longer.insert(stream[index], at: index)
            try useAll(longer)
        }
    }

    @Test(arguments: [MultifdCompression.none, .zlib, .zstd])
    func `bits of a multifd channel flipped, and its truncations`(compression: MultifdCompression) throws {
        let channel = try MultifdRecording(compression: compression).channels[1]
        for index in stride(from: 0, to: channel.count, by: 13) {
            try useAll(Array(channel.prefix(index)))
            for bit in [0, 3, 7] {
                var damaged = channel
                damaged[index] ^= 1 << UInt8(bit)
                try useAll(damaged)
            }
        }
    }

    @Test func `every bit of a return path and of a recovery flipped`() throws {
        let request = big(3 as UInt16) + big(16 as UInt16) + big(0x1000 as UInt64) + big(4096 as UInt32) + name("ram")
        let answers = big(2 as UInt16) + big(4 as UInt16) + big(1 as UInt32)
        let bitmap =
            big(5 as UInt16) + big(4 as UInt16) + name("ram") + big(8 as UInt64) + big(3 as UInt64)
            + big(0x0123_4567_89AB_CDEF as UInt64)
        let recovery: [UInt8] =
            [8] + big(10 as UInt16) + big(4 as UInt16) + name("ram") + [8] + big(9 as UInt16) + big(0 as UInt16)
            + [2] + big(2 as UInt32) + big(UInt64(0x1000 | 2)) + name("ram") + [0] + big(0x10 as UInt64)
            + [0x7E] + big(2 as UInt32) + [0]
        for sound in [answers + request + bitmap, recovery] {
            for bit in 0..<sound.count * 8 {
                var damaged = sound
                damaged[bit / 8] ^= 1 << UInt8(bit % 8)
                try useAll(damaged)
            }
        }
    }
}
