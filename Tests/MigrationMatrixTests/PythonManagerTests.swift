import BuiltInGuest
import Foundation
import GuestSupport
import Testing

@testable import PeerSupport

private let obstacle = HostGround.obstacle(to: .builtInGuest)

/// A manager that is not Apus: QEMU's own Python package opens the connection and hands its ends over, as libvirt does.
@Suite(
    "A manager in Python", .serialized,
    .enabled(
        if: obstacle == nil && PythonManager.isThere, "needs KVM, and qemu.qmp, which Python's qemu.qmp tests fetch"))
struct PythonManagerTests {
    @Test func `migrates by a socket pair, through a pipe into a file, and out of the file`() throws {
        try Workbench.use { bench in
            let lab = try Laboratory(bench)
            let names = ["second", "third"]
            let others = try names.map { try bench.startDestination($0, lab.shape) }
            let last = try #require(lab.source.reports.last)
            let script = bench.path("manager.py")
            try Data(PythonManager.script.utf8).write(to: URL(filePath: script))
            let (process, output) = try bench.runWithTranscript(
                "manager",
                [PythonManager.python, script, lab.source.qmpPath] + others.map(\.qmpPath) + [bench.path("saved")])
            let status = try process.waitForExit(within: .seconds(120))
            try #require(status == 0, "\(output.text) \(bench.complaints(of: "manager"))")
            #expect(
                output.text == """
                    socket pair: completed, the guest is running
                    pipe into a file: completed, the guest is postmigrate
                    out of the file: completed, the guest is running

                    """)
            try ArrivedGuest(from: others[0], to: others[1]).expectWhole(after: last, "by Python")
        }
    }
}

enum PythonManager {
    static let python: String = {
        let environment = ProcessInfo.processInfo.environment
        let cache = environment["APUS_CACHE"] ?? (environment["HOME"] ?? "/tmp") + "/.cache/apus"
        return "\(cache)/qemu-qmp/bin/python3"
    }()

    static let isThere = FileManager.default.isExecutableFile(atPath: python)

    /// Moves a guest from the first monitor to the second by a connection of its own; from there through a pipe, which
    /// `cat` writes into a file; and from the file into the third.
    static let script = """
        import asyncio, os, socket, subprocess, sys
        from qemu.qmp import QMPClient

        async def connect(path):
            client = QMPClient()
            await client.connect(path)
            await client.execute('migrate-set-capabilities', {'capabilities': [{'capability': 'events', 'state': True}]})
            return client

        async def hand_over(client, descriptor, name):
            client.send_fd_scm(descriptor)
            await client.execute('getfd', {'fdname': name})
            os.close(descriptor)

        async def end(client):
            with client.listener('MIGRATION') as events:
                while True:
                    answer = await client.execute('query-migrate')
                    if answer.get('status') in ('completed', 'failed', 'cancelled'):
                        assert answer['status'] == 'completed', answer
                        return answer['status']
                    await events.get()

        async def state(client, wanted):
            with client.listener(('STOP', 'RESUME')) as events:
                while True:
                    found = (await client.execute('query-status'))['status']
                    if found == wanted:
                        return found
                    await events.get()

        async def main(first, second, third, saved):
            a, b, c = await connect(first), await connect(second), await connect(third)
            near, far = socket.socketpair()
            await hand_over(a, near.detach(), 'to-b')
            await hand_over(b, far.detach(), 'from-a')
            await b.execute('migrate-incoming', {'uri': 'fd:from-a'})
            await a.execute('migrate', {'uri': 'fd:to-b'})
            print(f'socket pair: {await end(a)}, the guest is {await state(b, "running")}')

            reading, writing = os.pipe()
            with open(saved, 'wb') as file:
                writer = subprocess.Popen(['cat'], stdin=reading, stdout=file)
            os.close(reading)
            await hand_over(b, writing, 'to-file')
            await b.execute('migrate', {'uri': 'fd:to-file'})
            print(f'pipe into a file: {await end(b)}, the guest is {await state(b, "postmigrate")}')
            assert writer.wait(60) == 0

            await hand_over(c, os.open(saved, os.O_RDONLY), 'from-file')
            await c.execute('migrate-incoming', {'uri': 'fd:from-file'})
            print(f'out of the file: {await end(c)}, the guest is {await state(c, "running")}')
            for client in (a, b, c):
                await client.disconnect()

        asyncio.run(main(*sys.argv[1:]))
        """
}
