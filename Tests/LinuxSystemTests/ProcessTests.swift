import Glibc
import LinuxSystem
import Synchronization
import Testing

/// What a child with these descriptors prints.
private func output(of program: String, _ arguments: [String], extra: [ChildProcess.Descriptor] = []) throws
    -> (text: String, ending: ChildProcess.Ending?)
{
    let pipe = try OwnedDescriptor.pipe()
    let null = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
    let process = try ChildProcess(
        program: program, arguments: arguments,
        descriptors: [.init(null.number, as: 0), .init(pipe.writing.number, as: 1), .init(null.number, as: 2)] + extra)
    let ending = try process.wait(for: .seconds(20))
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = try buffer.withUnsafeMutableBytes { try pipe.reading.read(into: $0) }
    return (String(decoding: buffer.prefix(count), as: UTF8.self), ending)
}

@Suite("Child process") struct ChildProcessTests {
    @Test func `has the descriptors it was given and no others`() throws {
        let event = try EventDescriptor()
        let result = try output(
            of: "/bin/sh", ["-c", "for f in /proc/self/fd/*; do echo -n ${f##*/}' '; done; echo"],
            extra: [.init(event.number, as: 7)])
        // The shell opens the directory itself while it expands the pattern; that one is 3.
        #expect(result.text == "0 1 2 3 7 \n")
        #expect(result.ending == .exited(status: 0))
    }

    @Test func `tells its exit status and the signal that ended it`() throws {
        let exited = try output(of: "sh", ["-c", "echo out; exit 3"])
        #expect(exited.text == "out\n")
        #expect(exited.ending == .exited(status: 3))
        let killed = try output(of: "sh", ["-c", "echo out; kill -9 $$"])
        #expect(killed.ending == .signalled(number: 9))
    }

    @Test func `a program that is not there is an error that names it`() throws {
        let error = #expect(throws: SystemError.self) { try output(of: "/no/such/program", []) }
        #expect(error == SystemError(call: "posix_spawn", subject: "/no/such/program", number: 2))
    }

    @Test func `waiting ends with its time, and a forgotten process is ended`() throws {
        let null = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
        let names: [ChildProcess.Descriptor] = [0, 1, 2].map { .init(null.number, as: $0) }
        var process: ChildProcess? = try ChildProcess(program: "sleep", arguments: ["60"], descriptors: names)
        let ending = try process?.wait(for: .milliseconds(10))
        let identity = try #require(process?.processID)
        #expect(ending == .some(nil))
        process = nil
        #expect(throws: SystemError.self) {
            _ = try OwnedDescriptor(opening: "/proc/\(identity)/stat", for: .reading).number
        }
    }
}

@Suite("Child process that ends with this one") struct GuardedProcessTests {
    @Test func `does not end with the thread that asked for it`() throws {
        let null = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
        let names: [ChildProcess.Descriptor] = [0, 1, 2].map { .init(null.number, as: $0) }
        let process = Mutex<ChildProcess?>(nil)
        let thread = try BlockingThread(name: "asks") {
            let child = try? ChildProcess(
                program: "sleep", arguments: ["60"], descriptors: names, endsWithThisProcess: true)
            process.withLock { $0 = child }
        }
        thread.join()
        let child = try #require(process.withLock { $0 })
        let whileItRuns = try child.wait(for: .milliseconds(200))
        #expect(whileItRuns == nil)
        child.terminate()
        let ending = try child.wait(for: .seconds(20))
        #expect(ending == .signalled(number: 15))
    }

    @Test func `tells how it ended, and that it cannot be run`() throws {
        let null = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
        let names: [ChildProcess.Descriptor] = [0, 1, 2].map { .init(null.number, as: $0) }
        let child = try ChildProcess(
            program: "sh", arguments: ["-c", "exit 7"], descriptors: names, endsWithThisProcess: true)
        let ending = try child.wait(for: .seconds(20))
        #expect(ending == .exited(status: 7))
        let error = #expect(throws: SystemError.self) {
            _ = try ChildProcess(
                program: "/no/such/program", arguments: [], descriptors: names, endsWithThisProcess: true)
        }
        #expect(error == SystemError(call: "posix_spawn", subject: "/no/such/program", number: 2))
    }
}

@Suite("Temporary folder") struct TemporaryFolderTests {
    @Test func `goes away with its value, and what nobody uses any more goes with the next`() throws {
        let left = "/tmp/apus-test-folder-\(UInt32.random(in: 0...UInt32.max))"
        let name = String(left.dropFirst("/tmp/".count))
        mkdir("\(left)-000000", 0o700)
        try OwnedDescriptor(opening: "\(left)-000000/file", for: .replacing).write(all: [1].span.bytes)
        var first: TemporaryFolder? = try TemporaryFolder(named: name)
        let path = try #require(first?.path)
        #expect(!FileSystem.exists("\(left)-000000"))
        try OwnedDescriptor(opening: "\(path)/file", for: .replacing).write(all: [1].span.bytes)
        let second = try TemporaryFolder(named: name)
        #expect(FileSystem.exists("\(path)/file"))
        #expect(second.path != path)
        first = nil
        #expect(!FileSystem.exists(path))
    }
}

@Suite("Descriptor passing") struct DescriptorPassingTests {
    @Test func `a descriptor sent over a socket is the same open file`() throws {
        let sockets = try Socket.pair()
        let event = try EventDescriptor()
        try [UInt8]("fd".utf8).withUnsafeBytes { try sockets.first.send(all: $0, descriptors: [event.number]) }
        var buffer = [UInt8](repeating: 0, count: 16)
        let received = try buffer.withUnsafeMutableBytes { try sockets.second.receiveWithDescriptors(into: $0) }
        let copy = OwnedDescriptor(adopting: try #require(received.descriptors.first))
        var value: UInt64 = 5
        try withUnsafeBytes(of: &value) { try copy.write(all: $0) }
        let count = event.drain()
        #expect(received.byteCount == 2)
        #expect(received.descriptors.count == 1)
        #expect(received.lostDescriptors == false)
        #expect(count == 5)
    }

    @Test func `surplus descriptors are closed and said to be lost`() throws {
        let sockets = try Socket.pair()
        let event = try EventDescriptor()
        let three = [event.number, event.number, event.number]
        try [UInt8](repeating: 1, count: 1).withUnsafeBytes { try sockets.first.send(all: $0, descriptors: three) }
        var buffer = [UInt8](repeating: 0, count: 16)
        let received = try buffer.withUnsafeMutableBytes {
            try sockets.second.receiveWithDescriptors(into: $0, maximumCount: 1)
        }
        let kept = OwnedDescriptor(adopting: try #require(received.descriptors.first))
        #expect(kept.number > 2)
        #expect(received.descriptors.count == 1)
        #expect(received.lostDescriptors == true)
    }
}
