import Foundation
import LinuxSystem
import Storage
import Testing

/// A file of 1 MiB that is removed with its owner.
final class TestImage {
    let path = "/tmp/apus-image-\(UUID().uuidString.prefix(8))"
    init() throws { try Data(count: 1 << 20).write(to: URL(fileURLWithPath: path)) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The locks on the image's bytes as the kernel lists them: "READ 100 101".
    var locks: Set<String> {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        let inode = (attributes?[.systemFileNumber] as? Int) ?? -1
        let lines = (FileSystem.text(of: "/proc/locks") ?? "").split(separator: "\n")
        return Set(
            lines.map { $0.split(separator: " ") }.filter { $0.count == 8 && $0[5].hasSuffix(":\(inode)") }
                .map { "\($0[1]) \($0[3]) \($0[6]) \($0[7])" })
    }
}

@Suite("Image locks") struct ImageLockTests {
    private let image: TestImage

    init() throws { image = try TestImage() }

    @Test func `an image that is made is nobody's, and one that is written is one's own`() throws {
        let one = try DiskImage(path: image.path)
        let other = try DiskImage(path: image.path)
        #expect(!one.isLocked && image.locks == [])
        try one.takeLock()
        #expect(one.isLocked)
        #expect(throws: ImageLockError.notShared(path: image.path, permission: "written")) { try other.takeLock() }
        #expect(!other.isLocked)
        try one.releaseLock()
        try other.takeLock()
        #expect(throws: ImageLockError.self) { try one.takeLock() }
    }

    @Test func `a lock is taken once however often it is asked for, and given up once`() throws {
        let one = try DiskImage(path: image.path)
        try one.takeLock()
        try one.takeLock()
        try one.releaseLock()
        try one.releaseLock()
        let other = try DiskImage(path: image.path)
        try other.takeLock()
    }

    @Test func `a refused lock leaves no trace`() throws {
        let one = try DiskImage(path: image.path)
        try one.takeLock()
        let before = image.locks
        let other = try DiskImage(path: image.path)
        #expect(throws: ImageLockError.self) { try other.takeLock() }
        #expect(image.locks == before)
        try one.releaseLock()
        #expect(image.locks == [])
    }

    @Test func `many may read an image, and nobody writes it meanwhile`() throws {
        let readers = try (0..<3).map { _ in try DiskImage(path: image.path, isReadOnly: true) }
        for reader in readers { try reader.takeLock() }
        let writer = try DiskImage(path: image.path)
        #expect(throws: ImageLockError.notShared(path: image.path, permission: "written")) { try writer.takeLock() }
        for reader in readers { try reader.releaseLock() }
        try writer.takeLock()
        #expect(throws: ImageLockError.inUse(path: image.path, permission: "written")) { try readers[0].takeLock() }
    }

    @Test func `a lock ends with its image`() throws {
        do {
            let one = try DiskImage(path: image.path)
            try one.takeLock()
        }
        #expect(image.locks == [])
    }

    @Test func `the bytes are those that QEMU locks`() throws {
        let writer = try DiskImage(path: image.path)
        try writer.takeLock()
        #expect(image.locks == ["OFDLCK READ 100 101", "OFDLCK READ 201 201"])
        try writer.releaseLock()
        let reader = try DiskImage(path: image.path, isReadOnly: true)
        try reader.takeLock()
        #expect(image.locks == ["OFDLCK READ 100 100", "OFDLCK READ 201 201"])
    }

    // MARK: With QEMU's own programs

    private func run(_ program: String, _ arguments: String...) throws -> (status: Int32, errors: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        let errors = Pipe()
        process.standardError = errors
        process.standardOutput = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    @Test(.enabled(if: FileSystem.program("qemu-io") != nil, "qemu-io is not installed"))
    func `QEMU keeps off an image that is written here`() throws {
        let one = try DiskImage(path: image.path)
        try one.takeLock()
        let refused = try run("qemu-io", "-f", "raw", "-c", "read 0 512", image.path)
        #expect(refused.status == 1 && refused.errors.contains("Failed to get \"write\" lock"), "\(refused)")
        try one.releaseLock()
        #expect(try run("qemu-io", "-f", "raw", "-c", "read 0 512", image.path).status == 0)
    }

    @Test(.enabled(if: FileSystem.program("qemu-io") != nil, "qemu-io is not installed"))
    func `an image that QEMU writes is refused here, and free when it ends`() throws {
        let holder = Process()
        holder.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        // It holds the image as long as its standard input is open.
        holder.arguments = ["qemu-io", "-f", "raw", image.path]
        let input = Pipe()
        let output = Pipe()
        holder.standardInput = input
        holder.standardOutput = output
        try holder.run()
        defer { holder.terminate() }
        // It asks for a command when it has all its locks, which it takes one after the other.
        let prompt = try output.fileHandleForReading.read(upToCount: 8)
        try #require(prompt == Data("qemu-io>".utf8), "it ended: \(String(describing: prompt))")
        let one = try DiskImage(path: image.path)
        #expect(throws: ImageLockError.self) { try one.takeLock() }
        let reader = try DiskImage(path: image.path, isReadOnly: true)
        #expect(throws: ImageLockError.self) { try reader.takeLock() }
        try input.fileHandleForWriting.close()
        holder.waitUntilExit()
        try one.takeLock()
    }
}
