internal import Foundation
public import LinuxSystem
internal import Synchronization

/// A program that runs a guest, and the guest's serial port as lines: what the program writes to its standard output.
///
/// Ended, with everything it started, by `stop` or with the last reference.
public final class GuestProcess: Sendable {
    public let lines = SerialLines()
    private let process: ChildProcess
    private let complaintsPath: String
    private let reader: BlockingThread

    /// Starts `program` with `arguments` in the project's folder.
    public init(program: String, arguments: [String]) throws {
        let output = try OwnedDescriptor.pipe()
        let null = try OwnedDescriptor(opening: "/dev/null", for: .readingAndWriting)
        complaintsPath = NSTemporaryDirectory() + "/apus-guest-\(UUID().uuidString)"
        let complaints = try OwnedDescriptor(opening: complaintsPath, for: .replacing)
        process = try ChildProcess(
            program: program, arguments: arguments,
            descriptors: [
                .init(null.number, as: 0), .init(output.writing.number, as: 1), .init(complaints.number, as: 2),
            ])
        let lines = lines
        let number = try output.reading.duplicate().release()
        reader = try BlockingThread(name: "serial") {
            let pipe = OwnedDescriptor(adopting: number)
            var buffer = [UInt8](repeating: 0, count: 4096)
            while let count = try? buffer.withUnsafeMutableBytes({ try pipe.read(into: $0) }), count > 0 {
                for byte in buffer.prefix(count) { lines.append(byte) }
            }
            lines.end()
        }
    }

    deinit {
        stop()
        try? FileManager.default.removeItem(atPath: complaintsPath)
    }

    public var processID: Int32 { process.processID }

    /// What it wrote to standard error, for the text of a failed expectation.
    public var complaints: String { FileSystem.text(of: complaintsPath) ?? "" }

    /// How it ended, nil if it has not within `limit`.
    public func waitForEnd(for limit: Duration) throws -> ChildProcess.Ending? { try process.wait(for: limit) }

    /// Ends it: first asked (a lab then cleans up), after 20 seconds no longer.
    public func stop() {
        process.terminate()
        if case .some(.some) = try? process.wait(for: .seconds(20)) {} else { process.kill() }
        reader.join()
    }

    /// The project's folder.
    static let projectFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path
}
