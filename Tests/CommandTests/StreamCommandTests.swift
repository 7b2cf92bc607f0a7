import Foundation
import Testing

/// `apus stream` as a person or a script meets it: what it prints, and its exit status.
@Suite("The command apus stream") struct StreamCommandTests {
    private let folder = CommandFolder()

    @Test func `show prints memory and fields, and JSON for programs`() throws {
        let path = try folder.fixture("microvm-kvm.mig")
        let text = try apus("stream", "show", path)
        #expect(text.status == 0)
        #expect(text.output.contains("microvm.ram            64 MiB  16384"))
        #expect(text.output.contains("kvmclock instance 0 version 1"))
        #expect(text.output.contains("  kvmclock/clock_is_reliable version 1\n"))
        let json = try apus("stream", "show", "--json", "--section", "globalstate", path)
        #expect(json.status == 0)
        let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
        #expect(object?["machine"] as? String == "microvm")
        #expect((object?["devices"] as? [Any])?.count == 1)
    }

    @Test func `show and check read standard input`() throws {
        let path = try folder.fixture("returnpath.ch0.s2c")
        #expect(
            try apus("stream", "check", "-", input: path).output
                == "-: whole: return path, 16 bytes, 2 messages, 0 page requests\n")
        #expect(try apus("stream", "show", "-", input: path).output.contains("  pong 1\n"))
    }

    @Test func `check tells whole, damaged and unreadable apart by its status`() throws {
        let whole = try folder.fixture("microvm-kvm.mig")
        let cut = try folder.fixture("run-recover.ch0.c2s")
        let result = try apus("stream", "check", whole, cut)
        #expect(result.status == 1)
        #expect(result.output.contains("\(whole): whole: migration of a microvm"))
        #expect(result.output.contains("\(cut): not whole: The stream ends inside the footer of section ram"))
        #expect(result.output.contains("offset 1158649"))
        #expect(try apus("stream", "check", "--quiet", whole).output == "")
        let missing = try apus("stream", "check", folder.path("nothing"))
        #expect(missing.status == 2)
        #expect(missing.errors.contains("No such file or directory"))
    }

    @Test func `diff is silent and 0 for the same, 1 for a difference, 2 for trouble`() throws {
        let left = try folder.fixture("microvm-kvm.mig")
        let right = try folder.fixture("microvm-membackend.mig")
        let same = try apus("stream", "diff", left, left)
        #expect(same.status == 0 && same.output == "")
        let different = try apus("stream", "diff", left, right)
        #expect(different.status == 1)
        #expect(different.output.contains("memory mem0\n  < (absent)\n  > 64 MiB\n"))
        #expect(try apus("stream", "diff", left, folder.path("nothing")).status == 2)
    }

    @Test func `extract writes a sparse file`() throws {
        let path = try folder.fixture("microvm-kvm.mig")
        let result = try apus("stream", "extract", path, "--block", "microvm.ram", "-o", folder.path("ram"), "-v")
        #expect(result.status == 0)
        #expect(result.errors == "microvm.ram: 67108864 bytes, of which 131072 take space.\n")
        #expect(try FileManager.default.attributesOfItem(atPath: folder.path("ram"))[.size] as? Int == 64 << 20)
        let wrong = try apus("stream", "extract", path, "--block", "vga", "-o", folder.path("vga"))
        #expect(wrong.status == 1)
        #expect(wrong.errors.contains("It has no block vga; it has microvm.ram"))
    }

    @Test func `rewrite says where a stream is damaged`() throws {
        let cut = try folder.fixture("run-recover.ch0.c2s")
        let result = try apus("stream", "rewrite", input: cut, outputPath: folder.path("out"))
        #expect(result.status == 1)
        #expect(result.errors.contains("standard input: The stream ends inside the footer"))
    }

    @Test(arguments: ["show", "check", "extract", "diff", "rewrite", "relay"])
    func `help teaches by an example and tells the exit status`(command: String) throws {
        let help = try apus("stream", command, "--help")
        #expect(help.status == 0)
        #expect(help.output.contains("$ "))
        #expect(help.output.contains("Exit status:"))
    }

    @Test func `relay refuses an address that is none, in words`() throws {
        let result = try apus("stream", "relay", "--listen", "tcp:localhost", "--connect", "unix:/tmp/x")
        #expect(result.status == 64)
        #expect(result.errors.contains("'tcp:localhost' lacks a port"))
    }

    @Test(.timeLimit(.minutes(5)))
    func `a progress bar appears on a terminal after a second, and goes away`() throws {
        let terminal = try PseudoTerminal()
        let pipe = Pipe()
        let process = Process()
        process.executableURL = URL(filePath: apusPath)
        process.arguments = ["stream", "check", "-"]
        process.standardInput = pipe
        process.standardOutput = FileHandle.nullDevice
        process.standardError = terminal.end
        try process.run()
        terminal.closeEnd()
        // A stream of zero pages that goes on until the bar has been seen.
        let feed = pipe.fileHandleForWriting
        var stream = EndlessStream()
        try feed.write(contentsOf: stream.beginning)
        while !terminal.text.contains("reading -") { try feed.write(contentsOf: stream.nextPages()) }
        try feed.write(contentsOf: stream.end)
        try feed.close()
        process.waitUntilExit()
        terminal.waitForEnd()
        #expect(process.terminationStatus == 0)
        #expect(terminal.text.contains("MiB/s") || terminal.text.contains("KiB/s"))
        #expect(terminal.text.hasSuffix("\r\u{1B}[K"))
    }

    @Test func `no progress bar where standard error is no terminal`() throws {
        #expect(try apus("stream", "check", folder.fixture("microvm-kvm.mig")).errors == "")
    }
}
