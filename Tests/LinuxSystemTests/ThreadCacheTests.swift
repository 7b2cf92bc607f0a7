import Synchronization
import Testing

@testable import LinuxSystem

@Suite("The thread cache", .timeLimit(.minutes(1))) struct ThreadCacheTests {
    private let cache = ThreadCache()

    private func identity(_ name: String) throws -> ThreadIdentity {
        let found = Mutex<ThreadIdentity?>(nil)
        let work = try cache.start(name: name) { found.withLock { $0 = .current } }
        work.join()
        return try #require(found.withLock { $0 })
    }

    @Test func `a thread that has ended its work does the next`() throws {
        #expect(try identity("first") == identity("second"))
    }

    @Test func `threads made in advance are there for the first work`() throws {
        cache.prepare(2)
        cache.prepare(1)
        #expect(cache.idleCount == 2)
        let gate = Gate()
        let works = try (0..<3).map { _ in try cache.start(name: "work") { gate.wait() } }
        #expect(cache.idleCount == 0)
        gate.open()
        for work in works { work.join() }
        #expect(cache.idleCount == 3)
    }

    @Test func `work that goes on at once goes on side by side`() throws {
        let gate = Gate()
        let first = try cache.start(name: "first") { gate.wait() }
        let second = try cache.start(name: "second") { gate.open() }
        first.join()
        second.join()
    }

    @Test func `whoever waits sees what the work has done, and may wait again`() throws {
        for number in 0..<200 {
            let result = Mutex(-1)
            let work = try cache.start(name: "work") { result.withLock { $0 = number } }
            work.join()
            work.join()
            #expect(result.withLock { $0 } == number)
        }
    }
}
