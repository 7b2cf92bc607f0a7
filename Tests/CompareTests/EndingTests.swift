import Foundation
import LinuxSystem
import Testing

@testable import PeerSupport

/// What is left of an `apus compare` that was ended before its time.
@Suite("An apus compare that is ended") struct EndingTests {
    private let bench: Workbench

    init() throws { bench = try Workbench() }

    @Test(.enabled(if: CompareTests.hasKVM, "needs /dev/kvm"), arguments: [SIGINT, SIGTERM, SIGHUP])
    func `by a signal leaves neither monitors nor files`(signal: Int32) throws {
        let compare = try start()
        compare.process.signal(signal)
        #expect(try compare.process.waitForExit(within: .seconds(30)) == 130)
        for monitor in compare.monitors {
            #expect(kill(monitor.id, 0) == -1)
            #expect(!FileManager.default.fileExists(atPath: monitor.folder))
        }
    }

    @Test(.enabled(if: CompareTests.hasKVM, "needs /dev/kvm"))
    func `by SIGKILL takes its monitors along, and its folder goes with the next one`() throws {
        let (killed, other) = (try start(), try start())
        // They end with their processes, whoever is their parent then.
        let sessions = try killed.monitors.map { monitor in
            Transcript(try Socket(connectingTo: .unix(path: monitor.socket)).descriptor.duplicate())
        }
        for session in sessions { _ = try session.waitForFirstLine(within: .seconds(10)) }
        killed.process.signal(SIGKILL)
        #expect(try killed.process.waitForExit(within: .seconds(30)) == 128 + SIGKILL)
        for session in sessions { try session.waitForEnd(within: .seconds(10)) }
        let folder = try #require(killed.monitors.first?.folder)
        #expect(FileManager.default.fileExists(atPath: folder))

        let file = bench.path("no-kernel")
        try Data("no kernel".utf8).write(to: URL(filePath: file))
        let next = try bench.run("next", [apus, "compare", "--modes", "precopy", "--kernel", file, "--quiet"])
        #expect(try next.waitForExit(within: .seconds(60)) == 1)
        #expect(!FileManager.default.fileExists(atPath: folder))
        // What is in use is left alone.
        #expect(!other.process.hasEnded)
        for monitor in other.monitors {
            #expect(kill(monitor.id, 0) == 0)
            #expect(FileManager.default.fileExists(atPath: "\(monitor.folder)/guest.elf"))
        }
        other.process.interrupt()
        #expect(try other.process.waitForExit(within: .seconds(30)) == 130)
    }

    private struct Monitor {
        var id: pid_t
        var socket: String
        var folder: String { URL(filePath: socket).deletingLastPathComponent().path }
    }

    /// A comparison whose guest moves, slowly: both its monitors are there.
    private func start() throws -> (process: TestProcess, monitors: [Monitor]) {
        let (process, _, errors) = try bench.runWithTranscripts(
            "compare", [apus, "compare", "--memory", "64M", "--bandwidth", "4", "--limit", "600"])
        try errors.wait(forText: "it moves", within: .seconds(60))
        let monitors = monitors(of: process.id)
        #expect(monitors.count == 2)
        return (process, monitors)
    }

    /// The monitors that a command has started, with the socket that they were given.
    private func monitors(of command: pid_t) -> [Monitor] {
        let threads = "/proc/\(command)/task"
        let numbers = (try? FileManager.default.contentsOfDirectory(atPath: threads)) ?? []
        let children = numbers.flatMap { thread in
            ((try? String(contentsOfFile: "\(threads)/\(thread)/children", encoding: .utf8)) ?? "")
                .split(whereSeparator: \.isWhitespace).compactMap { pid_t($0) }
        }
        return children.compactMap { child in
            let words = ((try? String(contentsOfFile: "/proc/\(child)/cmdline", encoding: .utf8)) ?? "").split(
                separator: "\0")
            guard let socket = words.first(where: { $0.hasPrefix("unix:/tmp/apus-trial-") }) else { return nil }
            return Monitor(id: child, socket: String(socket.dropFirst("unix:".count)))
        }
    }
}
