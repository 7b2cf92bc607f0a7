import Foundation

/// Files in Tests/Fixtures, and larger samples in the folder that APUS_SAMPLES names.
enum Fixture {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures")

    static let samplesFolder = ProcessInfo.processInfo.environment["APUS_SAMPLES"].map { URL(filePath: $0) }

    /// The bytes of `name`, which lies there compressed as `name`.gz.
    static func load(_ name: String) throws -> [UInt8] { try read(folder.appending(path: name + ".gz")) }

    /// The names of the fixtures that end in `suffix`.
    static func names(endingIn suffix: String) -> [String] { names(in: folder, endingIn: suffix) }

    static func names(in folder: URL, endingIn suffix: String) -> [String] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false))) ?? []
        return all.map { $0.hasSuffix(".gz") ? String($0.dropLast(3)) : $0 }.filter { $0.hasSuffix(suffix) }.sorted()
    }

    static func sample(_ name: String, in folder: URL) throws -> [UInt8] {
        let compressed = folder.appending(path: name + ".gz")
        if FileManager.default.fileExists(atPath: compressed.path(percentEncoded: false)) {
            return try read(compressed)
        }
        return [UInt8](try Data(contentsOf: folder.appending(path: name)))
    }

    private static func read(_ url: URL) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/gzip")
        process.arguments = ["-dc", url.path(percentEncoded: false)]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw CocoaError(.fileReadCorruptFile) }
        return [UInt8](data)
    }
}
