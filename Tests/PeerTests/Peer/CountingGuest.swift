import Foundation
import Testing

@testable import PeerSupport

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
