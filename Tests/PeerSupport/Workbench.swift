import Foundation
import LinuxSystem

/// A folder and the processes of one test; all is gone with it.
final class Workbench {
    let folder: URL
    private var machines: [QEMU] = []
    private var processes: [TestProcess] = []

    /// Runs `body` with a new workbench.
    static func use<Result>(_ body: (Workbench) throws -> Result) throws -> Result {
        let bench = try Workbench()
        return try withExtendedLifetime(bench) { try body(bench) }
    }

    init() throws {
        // Short: the path of a UNIX socket has at most 107 bytes.
        folder = URL(fileURLWithPath: "/tmp/apus-peer-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit { clear() }

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

    /// Starts a program whose standard output and standard error are kept.
    func runWithTranscripts(_ name: String, _ arguments: [String]) throws -> (TestProcess, Transcript, Transcript) {
        let output = try OwnedDescriptor.pipe()
        let errors = try OwnedDescriptor.pipe()
        // The child opens it while it still has this process's descriptors.
        let process = try TestProcess(
            arguments, output: output.writing.number, errors: "/dev/fd/\(errors.writing.number)")
        processes.append(process)
        return (process, Transcript(try output.reading.duplicate()), Transcript(try errors.reading.duplicate()))
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
