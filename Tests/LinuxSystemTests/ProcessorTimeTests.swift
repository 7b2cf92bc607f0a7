import Glibc
import LinuxSystem
import Synchronization
import Testing

@Suite("Processors") struct ProcessorTimeTests {
    @Test(.timeLimit(.minutes(1)))
    func `processors are short while more threads want one than there are`() throws {
        let processorCount = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        let isOver = Atomic(false)
        let threads = try (0..<2 * processorCount + 1).map { _ in
            try BlockingThread(name: "busy") { while !isOver.load(ordering: .relaxed) {} }
        }
        // They are not all started at once.
        while !ProcessorTime.isShort { usleep(1000) }
        isOver.store(true, ordering: .relaxed)
        for thread in threads { thread.join() }
    }
}
