import LinuxSystem
import Testing

@testable import Machine

@Suite("Threads that wait in the place of virtual CPUs", .serialized) struct StandInsTests {
    /// A thread of the kernel that lasts as long as its processor (workers end when they have no work), that this
    /// process can see and may change; nil in a container.
    private static let kernelThread: ThreadIdentity? = {
        let candidates = (FileSystem.names(in: "/proc") ?? []).filter { number in
            FileSystem.text(of: "/proc/\(number)/comm")?.hasPrefix("ksoftirqd/") == true
        }
        return candidates.compactMap { Int32($0) }.map(ThreadIdentity.init).first { thread in
            guard thread.isOfKernel, let niceness = ThreadUrgency.niceness(of: thread) else { return false }
            return niceness == 0 && ThreadUrgency.set(niceness: niceness, of: thread)
        }
    }()

    @Test(.enabled(if: kernelThread != nil, "no thread of the kernel can be seen and changed here"))
    func `a thread of the kernel is urgent until all have waited`() throws {
        let thread = try #require(Self.kernelThread)
        let standIns = StandIns()
        for _ in 0..<2 {
            standIns.hurry(thread.number)
            #expect(ThreadUrgency.niceness(of: thread) == ThreadUrgency.highest)
        }
        standIns.release()
        #expect(ThreadUrgency.niceness(of: thread) == 0)
        standIns.release()
    }

    @Test(
        .enabled(if: kernelThread != nil, "no thread of the kernel can be seen and changed here"),
        arguments: [false, true])
    func `of two guests, the one that made it urgent makes it usual again`(isInOrder: Bool) throws {
        let thread = try #require(Self.kernelThread)
        let (first, second) = (StandIns(), StandIns())
        first.hurry(thread.number)
        second.hurry(thread.number)
        (isInOrder ? first : second).release()
        #expect(ThreadUrgency.niceness(of: thread) == (isInOrder ? 0 : ThreadUrgency.highest))
        (isInOrder ? second : first).release()
        #expect(ThreadUrgency.niceness(of: thread) == 0)
    }

    @Test func `threads of processes stay as they are`() {
        let own = ThreadIdentity.current
        let before = ThreadUrgency.niceness
        #expect(!own.isOfKernel)
        let standIns = StandIns()
        standIns.hurry(own.number)
        #expect(ThreadUrgency.niceness == before)
        standIns.hurry(.max)
        standIns.release()
        #expect(ThreadUrgency.niceness == before && ThreadUrgency.niceness(of: ThreadIdentity(number: .max)) == nil)
    }
}
