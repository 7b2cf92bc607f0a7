import Foundation
import Glibc
import Synchronization

/// A terminal of its own for a child process; what is written to it is kept.
final class PseudoTerminal: Sendable {
    let end: FileHandle
    private let written = Mutex<[UInt8]>([])
    private let finished = DispatchSemaphore(value: 0)

    init() throws {
        // TIOCSPTLCK unlocks the terminal, TIOCGPTN tells its number; macros that Swift does not see.
        let controller = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        var (lock, number): (Int32, Int32) = (0, -1)
        guard controller >= 0, ioctl(controller, 0x4004_5431, &lock) == 0, ioctl(controller, 0x8004_5430, &number) == 0
        else { throw CocoaError(.fileReadUnknown) }
        let end = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard end >= 0 else { throw CocoaError(.fileReadUnknown) }
        self.end = FileHandle(fileDescriptor: end, closeOnDealloc: false)
        Thread.detachNewThread { [self] in
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(controller, &buffer, buffer.count)
                if count <= 0 { break }
                written.withLock { $0 += buffer[..<count] }
            }
            close(controller)
            finished.signal()
        }
    }

    var text: String { String(decoding: written.withLock { $0 }, as: UTF8.self) }

    /// Leaves the terminal to the child alone, so that its end is seen.
    func closeEnd() { try? end.close() }

    func waitForEnd() { _ = finished.wait(timeout: .now() + 30) }
}
