import Foundation

/// The `apus` that was built with these tests.
let apusPath: String = {
    let tests =
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    return URL(filePath: tests).deletingLastPathComponent().appending(path: "apus").path
}()

struct CommandResult {
    let status: Int32
    let output: String
    let errors: String
}

/// Runs `apus` to its end.
func apus(_ arguments: String..., input: String = "/dev/null", outputPath: String? = nil) throws -> CommandResult {
    try apus(arguments, input: input, outputPath: outputPath)
}

/// Runs `apus` to its end.
func apus(_ arguments: [String], input: String = "/dev/null", outputPath: String? = nil) throws -> CommandResult {
    let process = Process()
    process.executableURL = URL(filePath: apusPath)
    process.arguments = arguments
    process.standardInput = try FileHandle(forReadingFrom: URL(filePath: input))
    let folder = CommandFolder()
    let (output, errors) = (outputPath ?? folder.path("output"), folder.path("errors"))
    for path in [output, errors] { try Data().write(to: URL(filePath: path)) }
    process.standardOutput = try FileHandle(forWritingTo: URL(filePath: output))
    process.standardError = try FileHandle(forWritingTo: URL(filePath: errors))
    try process.run()
    process.waitUntilExit()
    return CommandResult(
        status: process.terminationStatus,
        output: outputPath == nil ? try String(contentsOfFile: output, encoding: .utf8) : "",
        errors: try String(contentsOfFile: errors, encoding: .utf8))
}

/// A folder that goes away with this value.
final class CommandFolder: Sendable {
    private let folder = "/tmp/apus-command-\(UUID().uuidString.prefix(8))"
    private static let fixtures = URL(filePath: #filePath).appending(path: "../../../Fixtures").standardizedFileURL

    init() { try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// A fixture, decompressed.
    func fixture(_ name: String) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", "gzip -dc '\(Self.fixtures.appending(path: name + ".gz").path)' >'\(path(name))'"]
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw CocoaError(.fileReadCorruptFile) }
        return path(name)
    }
}

/// A stream that can be made as long as one likes.
struct EndlessStream {
    private var offset: UInt64 = 0
    private static let size: UInt64 = 1 << 40

    var beginning: Data {
        var data = Data([0x51, 0x45, 0x56, 0x4D, 0, 0, 0, 3, 7, 0, 0, 0, 2]) + Data("pc".utf8)
        data += Data([1, 0, 0, 0, 2, 3]) + Data("ram".utf8) + Data([0, 0, 0, 0, 0, 0, 0, 4])
        data += Self.big(Self.size | 4) + Data([1]) + Data("m".utf8) + Self.big(Self.size) + Self.footer
        return data + Data([2, 0, 0, 0, 2]) + Self.big(2) + Data([1]) + Data("m".utf8) + Data([0])
    }

    /// 10000 zero pages.
    mutating func nextPages() -> Data {
        var data = Data(capacity: 90_000)
        for _ in 0..<10_000 {
            offset = (offset + 4096) % Self.size
            data += Self.big(offset | 0x22) + Data([0])
        }
        return data
    }

    var end: Data { Self.footer + Data([0]) }

    private static let footer = big(0x10) + Data([0x7E, 0, 0, 0, 2])
    private static func big(_ value: UInt64) -> Data { withUnsafeBytes(of: value.bigEndian) { Data($0) } }
}
