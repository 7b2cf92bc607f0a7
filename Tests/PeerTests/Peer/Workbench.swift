import Foundation
import LinuxSystem
import Testing

/// A folder and the processes of one test; all is gone when the test ends, however it ends.
final class Workbench {
    let folder: URL
    private var machines: [QEMU] = []
    private var processes: [TestProcess] = []

    /// Runs `body` with a new workbench.
    static func use<Result>(_ body: (Workbench) throws -> Result) throws -> Result {
        let bench = try Workbench()
        defer { bench.clear() }
        return try body(bench)
    }

    private init() throws {
        // Short: the path of a UNIX socket has at most 107 bytes.
        folder = URL(fileURLWithPath: "/tmp/apus-peer-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    private func clear() {
        for machine in machines { machine.kill() }
        for process in processes { process.killAndWait() }
        try? FileManager.default.removeItem(at: folder)
    }

    func path(_ name: String) -> String { folder.appending(path: name).path }

    /// Starts a QEMU.
    func start(_ name: String, _ arguments: [String]) throws -> QEMU {
        let machine = try QEMU(name, in: folder, arguments)
        machines.append(machine)
        return machine
    }

    /// Starts another program; its standard error goes to the file NAME.stderr.
    func run(_ name: String, _ arguments: [String], input: Int32? = nil, output: Int32? = nil) throws -> TestProcess {
        let process = try TestProcess(arguments, input: input, output: output, errors: path("\(name).stderr"))
        processes.append(process)
        return process
    }

    /// Starts a program whose standard output is kept. This side's copy of the writing end is closed on return.
    func runWithTranscript(_ name: String, _ arguments: [String]) throws -> (TestProcess, Transcript) {
        let pipe = try OwnedDescriptor.pipe()
        let process = try run(name, arguments, output: pipe.writing.number)
        return (process, Transcript(try pipe.reading.duplicate()))
    }

    func complaints(of name: String) -> String {
        (try? String(contentsOfFile: path("\(name).stderr"), encoding: .utf8)) ?? ""
    }
}

/// The `apus` that was built with these tests.
let apus: String = {
    let tests =
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    return URL(fileURLWithPath: tests).deletingLastPathComponent().appending(path: "apus").path
}()

/// Debian's kernel and a first process that counts on the serial line, from Scripts/counting-guest.
struct CountingGuest: Sendable {
    let kernel: String
    let initramfs: String

    /// The guest, or why it cannot be had.
    static let prepared: Result<CountingGuest, PeerError> = Result(catching: prepare).mapError {
        $0 as? PeerError ?? PeerError("\($0)")
    }

    /// Why such tests are skipped, said without trying: tests are listed, with their comments, before any is chosen.
    static let needs: Comment = "needs qemu-system-x86_64 and a kernel package: see Scripts/counting-guest"

    /// What stands in the way of tests with it; nil when nothing does.
    static var obstacle: String? {
        if !QEMU.isInstalled { return "\(QEMU.program) is not installed" }
        if case .failure(let error) = prepared { return error.description }
        return nil
    }

    private static func prepare() throws -> CountingGuest {
        let root = URL(fileURLWithPath: #filePath).appending(path: "../../../..").standardizedFileURL
        return try Workbench.use { bench in
            let output = bench.path("paths")
            let script = root.appending(path: "Scripts/counting-guest").path
            let process = try bench.run("guest", ["sh", "-c", "exec '\(script)' >'\(output)'"])
            guard try process.waitForExit(within: .seconds(300)) == 0 else {
                throw PeerError(bench.complaints(of: "guest").trimmingCharacters(in: .whitespacesAndNewlines))
            }
            let lines = try String(contentsOfFile: output, encoding: .utf8).split(separator: "\n").map(String.init)
            return CountingGuest(kernel: lines[0], initramfs: lines[1])
        }
    }

    /// QEMU's arguments for a microvm that runs it, with more words for the guest's command line.
    func arguments(words: String = "") -> [String] {
        [
            "-accel", "tcg", "-M", "microvm,acpi=off", "-m", "128", "-kernel", kernel, "-initrd", initramfs,
            "-append", "console=ttyS0 quiet panic=-1 \(words)",
        ]
    }
}
