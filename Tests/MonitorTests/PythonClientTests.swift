import Glibc
import LinuxSystem
import Monitor
import QMP
import Testing

/// The clients of QEMU's own project, from the Python package `qemu.qmp`.
@Suite(
    "Python's qemu.qmp", .serialized, .timeLimit(.minutes(3)), .enabled(if: PythonQMP.isThere, "\(PythonQMP.reason)"))
struct PythonClientTests {
    @Test func `negotiates, executes, sees events and errors, and hands over descriptors`() async throws {
        let monitor = try TestMonitor()
        let output = try await PythonQMP.run(script: Self.client, [monitor.path])
        #expect(
            output == """
                greeting test
                prelaunch
                RESUME
                running
                CommandNotFound: The command nope has not been found
                GenericError: Parameter 'fdname' is missing
                64 bits 18446744073709551615
                50 replies
                fd handed over
                STOP
                done

                """)
        let descriptor = try monitor.services.descriptors.take(named: "socket")
        #expect(descriptor.number > 2)
    }

    @Test func `legacy interface with its way of sending descriptors works`() async throws {
        let monitor = try TestMonitor()
        let output = try await PythonQMP.run(script: Self.legacy, [monitor.path])
        #expect(output == "prelaunch\nfd handed over\nerror 'The command nope has not been found'\nRESUME\n")
        _ = try monitor.services.descriptors.take(named: "pipe")
    }

    @Test func `shell executes what is typed`() async throws {
        let monitor = try TestMonitor()
        let output = try await PythonQMP.run(
            module: "qemu.qmp.qmp_shell", ["-v", monitor.path], input: "query-status\ncont\nquery-status\nnope\n")
        #expect(output.contains("Connected to QEMU 7.2.0"))
        #expect(output.contains(#""status": "prelaunch""#))
        #expect(output.contains(#""running": true"#))
        #expect(output.contains("The command nope has not been found"))
    }

    private static let client = """
        import asyncio, os, socket, sys
        from qemu.qmp import QMPClient
        from qemu.qmp.error import QMPError
        from qemu.qmp.qmp_client import ExecuteError
        async def main():
            client = QMPClient('test')
            await client.connect(sys.argv[1])
            print('greeting', client.greeting.QMP.version['package'])
            print((await client.execute('query-status'))['status'])
            with client.listener() as events:
                await client.execute('cont')
                print((await events.get())['event'])
                print((await client.execute('query-status'))['status'])
                for name in ('nope', 'getfd'):
                    try:
                        await client.execute(name)
                    except ExecuteError as error:
                        print(f'{error.error_class}: {error}')
                await client.execute('migrate-set-parameters', {'max-bandwidth': 2**64 - 1})
                print('64 bits', (await client.execute('query-migrate-parameters'))['max-bandwidth'])
                replies = await asyncio.gather(*(client.execute('query-uuid') for _ in range(50)))
                print(len(replies), 'replies')
                ends = socket.socketpair()
                client.send_fd_scm(ends[0].fileno())
                await client.execute('getfd', {'fdname': 'socket'})
                print('fd handed over')
                await client.execute('stop')
                print((await events.get())['event'])
            await client.disconnect()
            print('done')
        asyncio.run(main())
        """

    private static let legacy = """
        import os, sys
        from qemu.qmp.legacy import QEMUMonitorProtocol
        monitor = QEMUMonitorProtocol(sys.argv[1])
        monitor.connect()
        print(monitor.cmd_obj({'execute': 'query-status'})['return']['status'])
        reading, writing = os.pipe()
        monitor.send_fd_scm(reading)
        monitor.cmd('getfd', fdname='pipe')
        print('fd handed over')
        print('error', repr(monitor.cmd_obj({'execute': 'nope'})['error']['desc']))
        monitor.cmd('cont')
        print(monitor.pull_event(True)['event'])
        monitor.close()
        """
}

/// The package in a folder of its own under the cache; fetched once, when it can be.
enum PythonQMP {
    private static let folder: String = {
        func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
        return (variable("APUS_CACHE") ?? (variable("HOME") ?? "/tmp") + "/.cache/apus") + "/qemu-qmp"
    }()
    private static let python = "\(folder)/bin/python3"
    static let reason: String = "the package qemu.qmp is not there and pip cannot fetch it"

    static let isThere: Bool = {
        if canImport() { return true }
        _ = try? execute("python3", ["-m", "venv", folder])
        _ = try? execute(python, ["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "qemu.qmp"])
        return canImport()
    }()

    private static func canImport() -> Bool {
        (try? execute(python, ["-c", "import qemu.qmp; print(1)"])) == "1\n"
    }

    /// What the script writes, errors included.
    static func run(script: String, _ arguments: [String]) async throws -> String {
        try await Thread.run { try execute(python, ["-c", script] + arguments) }
    }

    static func run(module: String, _ arguments: [String], input: String) async throws -> String {
        try await Thread.run { try execute(python, ["-m", module] + arguments, input: input) }
    }

    /// Runs a program for at most two minutes and returns what it writes.
    private static func execute(_ program: String, _ arguments: [String], input: String = "") throws -> String {
        let stdin = try OwnedDescriptor.pipe()
        let stdout = try OwnedDescriptor.pipe()
        let reading = try stdout.reading.duplicate()
        let process = try start(program, arguments, stdin, stdout, input)
        let watch = try BlockingThread(name: "watch") {
            if (try? process.wait(for: .seconds(120))) == nil { process.kill() }
        }
        defer { watch.join() }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = try buffer.withUnsafeMutableBytes { try reading.read(into: $0) }
            if count == 0 { return String(decoding: output, as: UTF8.self) }
            output += buffer.prefix(count)
        }
    }

    /// Our ends of what the program reads and writes are closed behind this.
    private static func start(
        _ program: String, _ arguments: [String], _ stdin: consuming Pipe, _ stdout: consuming Pipe, _ input: String
    ) throws -> ChildProcess {
        let bytes = Array(input.utf8)
        try stdin.writing.write(all: bytes.span.bytes)
        return try ChildProcess(
            program: program, arguments: arguments,
            descriptors: [
                ChildProcess.Descriptor(stdin.reading.number, as: 0),
                ChildProcess.Descriptor(stdout.writing.number, as: 1),
                ChildProcess.Descriptor(stdout.writing.number, as: 2),
            ])
    }
}
