import Foundation
import GuestSupport
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// A guest in a file, damaged in every way that a file can be.
@Suite("Damaged streams", .serialized, .enabled(if: obstacle == nil, Comment(rawValue: obstacle ?? "")))
struct DamagedStreamTests {
    @Test func `a stream that is cut short or changed is refused in a sentence, and the whole one still loads`() throws
    {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let file = bench.path("guest.mig")
            let saved = try bench.migrate("save", from: lab.source, to: nil, ["file:\(file)"])
            #expect(saved.status == 0, "\(saved.reasons) \(saved.errors)")
            let last = try #require(lab.source.reports.last)
            let whole = try Data(contentsOf: URL(filePath: file))
            for (name, damage) in try damages(of: whole) {
                let path = bench.path("damaged")
                try damage.write(to: URL(filePath: path))
                let (process, output) = try bench.runWithTranscript(
                    name, [apus, "run", "--serial", "stdio", "--incoming", "file:\(path)"] + lab.shape.arguments)
                #expect(try process.waitForExit(within: .seconds(60)) == 1, "\(name)")
                let complaints = bench.complaints(of: name)
                print("\(name): \(complaints)", terminator: "")
                #expect(complaints.hasPrefix("apus: ") && complaints.hasSuffix(".\n"), "\(name): \(complaints)")
                #expect(complaints.split(separator: "\n").count == 1, "\(name): \(complaints)")
                #expect(output.text == "", "\(name): it ran the guest")
            }
            // Of the description, which stands behind the end and is for people, nothing is needed.
            let cut = bench.path("cut.mig")
            try whole.prefix(whole.count - 1000).write(to: URL(filePath: cut))
            for (name, path) in [("whole", file), ("cut in its description", cut)] {
                let destination = try bench.startDestination(name, lab.shape, incoming: "file:\(path)")
                try ArrivedGuest(from: lab.source, to: destination).expectWhole(after: last, "the file, \(name)")
            }
        }
    }

    /// Copies of a stream that no destination may accept.
    private func damages(of whole: Data) throws -> [(String, Data)] {
        func changed(at offset: Int, to byte: UInt8) -> Data {
            var data = whole
            data[offset] = byte
            return data
        }
        // Behind a section's name stand its instance and its version, four bytes each.
        let clock = try #require(whole.range(of: Data("kvmclock".utf8)))
        var result: [(String, Data)] = [
            ("nothing", Data()), ("a byte", whole.prefix(1)), ("a header", whole.prefix(8)),
            ("half a configuration", whole.prefix(20)), ("a thousand bytes", whole.prefix(1000)),
            ("half", whole.prefix(whole.count / 2)), ("without half of its devices", whole.prefix(clock.lowerBound)),
            ("no stream", Data("#!/bin/sh\nexit 0\n".utf8)), ("another magic", changed(at: 0, to: 0x52)),
            ("another version of the stream", changed(at: 7, to: 4)), ("another machine", changed(at: 13, to: 0x4D)),
        ]
        result.append(("another version of a section", changed(at: clock.upperBound + 7, to: 99)))
        return result
    }
}
