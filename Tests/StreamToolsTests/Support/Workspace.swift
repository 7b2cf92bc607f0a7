import Foundation
import LinuxSystem
import StreamTools

/// A folder for the files of one test; it goes away with this value.
final class Workspace {
    let folder: String

    init() throws {
        folder = "/tmp/apus-test-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// A file with these bytes.
    @discardableResult
    func write(_ bytes: [UInt8], as name: String) throws -> String {
        try Data(bytes).write(to: URL(filePath: path(name)))
        return path(name)
    }

    func read(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: path(name)))) }

    /// `apus stream rewrite` of `bytes`.
    func rewrite(
        _ bytes: [UInt8], _ options: StreamRewriter.Options = .init()
    ) throws -> (bytes: [UInt8], report: RewriteReport) {
        let input = try StreamInput(opening: write(bytes, as: "rewrite.in"))
        let output = StreamOutput(adopting: try OwnedDescriptor(opening: path("rewrite.out"), for: .replacing))
        let report = try StreamRewriter.rewrite(input, to: output, options: options)
        return (try read("rewrite.out"), report)
    }

    /// `apus stream show` of `bytes`.
    func scan(_ bytes: [UInt8]) throws -> ChannelSummary {
        var input = StreamInput(bytes: bytes, name: "scan.in")
        return try ChannelSummary(scanning: &input)
    }
}
