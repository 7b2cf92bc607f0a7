import Foundation
import MigrationStream
import Testing

/// All streams of a folder that is not part of the repository: captures of other QEMUs, of any size.
///
/// Their names say what they are: `*.mig` and `*ch0.c2s` main channels, `multifd*.chN.c2s` multifd channels,
/// `*preempt*.ch1.c2s` preempt channels, `*.s2c` return paths, `*recover*-resume.ch0.c2s` recoveries.
@Suite(
    "Streams in the folder of APUS_SAMPLES",
    .enabled(if: Fixture.samplesFolder != nil, "APUS_SAMPLES names no folder"))
struct LargeSampleTests {
    static let folder = Fixture.samplesFolder ?? URL(filePath: "/nonexistent")
    static let all = Fixture.names(in: folder, endingIn: ".c2s") + Fixture.names(in: folder, endingIn: ".mig")
    static let cut = ["run-recover.ch0.c2s", "run-recover-preempt.ch0.c2s"]
    static let main = all.filter {
        ($0.hasSuffix(".mig") || $0.hasSuffix("ch0.c2s")) && !$0.contains("-resume") && !cut.contains($0)
    }

    @Test(arguments: main) func `are written again as they were read`(name: String) throws {
        let stream = try Fixture.sample(name, in: Self.folder)
        let decoded = try decode(stream, chunk: 1 << 20)
        #expect(decoded.differingElements == [])
        #expect(decoded.decoder.offset == stream.count)
    }

    @Test(arguments: all.filter { $0.contains("-resume.ch0") })
    func `go on after a recovery`(name: String) throws {
        let stream = try Fixture.sample(name, in: Self.folder)
        let decoded = try decode(stream, options: StreamOptions(kind: .recovery))
        #expect(decoded.differingElements == [])
        #expect(decoded.decoder.offset == stream.count)
    }

    @Test(arguments: all.filter { $0.contains("preempt") && $0.hasSuffix(".ch1.c2s") })
    func `are bare records on a preempt channel`(name: String) throws {
        let stream = try Fixture.sample(name, in: Self.folder)
        let decoded = try decode(stream, options: StreamOptions(kind: .preempt))
        #expect(decoded.differingElements == [])
        #expect(decoded.decoder.offset == stream.count)
    }

    @Test(arguments: all.filter { $0.contains("multifd") && !$0.contains("ch0") })
    func `are written again on multifd channels`(name: String) throws {
        try expectMultifdRoundTrip(try Fixture.sample(name, in: Self.folder), chunk: 1 << 20)
    }

    @Test(arguments: Fixture.names(in: folder, endingIn: ".s2c"))
    func `are written again on the return path`(name: String) throws {
        try expectReturnPathRoundTrip(try Fixture.sample(name, in: Self.folder), chunk: 4096)
    }
}
