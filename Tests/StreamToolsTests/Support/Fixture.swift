import Foundation

/// The streams of real QEMUs in Tests/Fixtures.
enum Fixture {
    static let folder = URL(filePath: #filePath).appending(path: "../../../Fixtures").standardizedFileURL.path

    /// The bytes of `name`, which lies there compressed as `name`.gz.
    static func load(_ name: String) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/gzip")
        process.arguments = ["-dc", "\(folder)/\(name).gz"]
        let pipe = Foundation.Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw CocoaError(.fileReadCorruptFile) }
        return [UInt8](data)
    }

    /// The names of all recorded channels.
    static let channels: [String] = {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        let names = all.filter { $0.hasSuffix(".gz") }.map { String($0.dropLast(3)) }
        return names.filter { $0.hasSuffix(".mig") || $0.hasSuffix(".c2s") || $0.hasSuffix(".s2c") }.sorted()
    }()

    /// Channels that were cut while they were recorded.
    static let cutChannels: Set<String> = ["run-recover.ch0.c2s", "run-recover-preempt.ch0.c2s"]

    /// What every page of a fixture that is not zero holds: a line with its block and offset, over and over.
    static func page(of block: String, at offset: Int) -> [UInt8] {
        let line = Array("Apus page \(block) 0x\(String(offset, radix: 16))\n".utf8)
        return (0..<4096).map { line[$0 % line.count] }
    }
}
