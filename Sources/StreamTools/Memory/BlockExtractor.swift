import LinuxSystem
import MigrationStream

/// Writes the memory of one block of a stream to a file.
public enum BlockExtractor {
    /// What was written.
    public struct Report: Equatable, Sendable {
        /// Bytes of the block and so of the file.
        public var byteCount = 0
        /// Bytes of the file that are no hole.
        public var dataByteCount = 0
    }

    /// Writes the block called `name` to a new file at `path`, which is sparse where the memory is zero.
    ///
    /// - Throws: `NoSuchBlock`; `StreamError` where the stream is damaged, the file then has what came before.
    public static func extract(
        block name: String, of source: StreamSource, to path: String, report: StreamInput.Report? = nil
    ) throws -> Report {
        var loader = MemoryLoader(report: report) { description in
            guard description.name == name else { return nil }
            return try BlockFile(
                OwnedDescriptor(creatingForReadingAndWriting: path), byteCount: description.usedByteCount ?? 0)
        }
        try loader.load(source)
        guard let file = loader.blocks.first(where: { $0.name == name })?.file else {
            throw NoSuchBlock(name: name, known: loader.blocks.map(\.name))
        }
        var result = Report(byteCount: file.byteCount)
        var offset = 0
        while let range = try file.data(from: offset) {
            result.dataByteCount += range.count
            offset = range.upperBound
        }
        return result
    }
}

/// A block that the stream has not.
public struct NoSuchBlock: Error, Equatable, CustomStringConvertible {
    public let name: String
    public let known: [String]

    public var description: String {
        "It has no block \(name); it has " + (known.isEmpty ? "none." : known.joined(separator: ", ") + ".")
    }
}
