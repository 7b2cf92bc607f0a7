import GuestMemory
import LinuxSystem
import Machine
import Synchronization
import Testing

@Suite("Urgency while pages are missing") struct UrgencyTests {
    private static let mayChange: Bool = {
        let niceness = ThreadUrgency.niceness
        return ThreadUrgency.set(niceness: niceness - 1) && ThreadUrgency.set(niceness: niceness)
    }()

    @Test(.enabled(if: hasUserFault && mayChange, "userfaultfd or a lower niceness is not permitted"))
    func `virtual CPUs go before other threads until all pages are there`() throws {
        let block = RAMBlock(name: "pc.ram", mapping: try MemoryMapping(.anonymous, byteCount: 4 << 20))
        let (start, end) = (Gate(), Gate())
        let identity = Mutex<ThreadIdentity?>(nil)
        let virtualCPU = try BlockingThread(name: "vcpu") {
            identity.withLock { $0 = .current }
            start.open()
            end.wait()
        }
        start.wait()
        defer {
            end.open()
            virtualCPU.join()
        }
        let thread = try #require(identity.withLock { $0 })
        let usual = try #require(ThreadUrgency.niceness(of: thread))
        let memory = try UserFaultMemory(blocks: [block], virtualCPUThreads: [thread.number])
        #expect(ThreadUrgency.niceness(of: thread) == usual)
        try memory.listen()
        #expect(ThreadUrgency.niceness(of: thread) == usual - 11)
        memory.finish()
        #expect(ThreadUrgency.niceness(of: thread) == usual)
    }
}
