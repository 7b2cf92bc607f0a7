import Foundation

/// The `apus` that was built with these tests.
private let apusPath: String = {
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
func apus(_ arguments: String...) throws -> CommandResult { try apus(arguments: arguments) }

func apus(arguments: [String]) throws -> CommandResult {
    let running = try RunningCommand(arguments)
    let status = running.waitForEnd(seconds: 300) ?? -1
    return CommandResult(status: status, output: running.output, errors: running.errors)
}

/// A folder that goes away with this value.
final class CompareFolder: Sendable {
    private let folder = "/tmp/apus-compare-test-\(UUID().uuidString.prefix(8))"

    init() { try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func path(_ name: String) -> String { "\(folder)/\(name)" }
}

/// One `apus` that runs; killed with this value.
final class RunningCommand {
    private let process = Process()
    private let folder = CompareFolder()
    /// Folders for its own files that it was seen to have.
    private(set) var openFolders: [String] = []

    init(_ arguments: [String]) throws {
        process.executableURL = URL(filePath: apusPath)
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        for name in ["output", "errors"] { try Data().write(to: URL(filePath: folder.path(name))) }
        process.standardOutput = try FileHandle(forWritingTo: URL(filePath: folder.path("output")))
        process.standardError = try FileHandle(forWritingTo: URL(filePath: folder.path("errors")))
        try process.run()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    var output: String { text("output") }
    var errors: String { text("errors") }

    private func text(_ name: String) -> String {
        String(decoding: (try? Data(contentsOf: URL(filePath: folder.path(name)))) ?? Data(), as: UTF8.self)
    }

    /// The processes that it has started.
    var children: [pid_t] {
        let threads = "/proc/\(process.processIdentifier)/task"
        let numbers = (try? FileManager.default.contentsOfDirectory(atPath: threads)) ?? []
        let children = numbers.flatMap { thread in
            ((try? String(contentsOfFile: "\(threads)/\(thread)/children", encoding: .utf8)) ?? "")
                .split(whereSeparator: \.isWhitespace).compactMap { pid_t($0) }
        }
        for child in children {
            let line = (try? String(contentsOfFile: "/proc/\(child)/cmdline", encoding: .utf8)) ?? ""
            for word in line.split(separator: "\0") where word.hasPrefix("unix:/tmp/apus-compare-") {
                openFolders.append(URL(filePath: String(word.dropFirst(5))).deletingLastPathComponent().path)
            }
        }
        return children
    }

    func interrupt() { kill(process.processIdentifier, SIGINT) }

    func waitForErrors(containing text: String, seconds: Double) -> Bool {
        waitUntil(seconds) { errors.contains(text) || !process.isRunning } && errors.contains(text)
    }

    /// Its status; nil when the time was up, it is then killed.
    func waitForEnd(seconds: Double) -> Int32? {
        guard waitUntil(seconds, { !process.isRunning }) else {
            kill(process.processIdentifier, SIGKILL)
            return nil
        }
        return process.terminationStatus
    }

    private func waitUntil(_ seconds: Double, _ condition: () -> Bool) -> Bool {
        let end = Date(timeIntervalSinceNow: seconds)
        while !condition() {
            if Date() > end { return false }
            usleep(10_000)
        }
        return true
    }
}
