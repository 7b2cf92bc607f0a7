import LinuxSystem
import Synchronization
import Testing

@Suite("Events") struct EventTests {
    @Test func `an event counts its notifications until drained`() throws {
        let event = try EventDescriptor()
        event.notify()
        event.notify()
        let counts = [event.drain(), event.drain()]
        #expect(counts == [2, 0])
    }

    @Test func `waiting for an event ends with its time`() throws {
        let event = try EventDescriptor()
        let start = ContinuousClock.now
        let count = event.wait(for: .milliseconds(20))
        #expect(count == 0)
        #expect(ContinuousClock.now - start >= .milliseconds(20))
    }

    @Test func `a poller names what is ready by its key`() throws {
        let poller = try Poller()
        let quiet = try EventDescriptor()
        let loud = try EventDescriptor()
        try poller.add(quiet.number, for: .readable, key: 10)
        try poller.add(loud.number, for: .readable, key: 20)
        loud.notify()
        let ready = try poller.wait(for: .seconds(5))
        #expect(ready == [Poller.Ready(key: 20, events: .readable)])
        try poller.remove(loud.number)
        let nothing = try poller.wait(for: .zero)
        #expect(nothing.isEmpty)
    }

    @Test func `a timer fires again and again`() throws {
        let timer = try TimerDescriptor()
        let poller = try Poller()
        try poller.add(timer.number, for: .readable, key: 0)
        try timer.start(after: .milliseconds(2), every: .milliseconds(2))
        var fired: UInt64 = 0
        while fired < 3 {
            try #require(!poller.wait(for: .seconds(5)).isEmpty)
            fired += timer.drain()
        }
        try timer.stop()
        #expect(fired >= 3)
    }

    @Test func `a gate lets through what was written before it opened`() throws {
        let gate = Gate()
        let value = Mutex(0)
        let early = gate.wait(for: .milliseconds(5))
        let thread = try BlockingThread(name: "opener") {
            value.withLock { $0 = 11 }
            gate.open()
        }
        let opened = gate.wait(for: .seconds(10))
        thread.join()
        #expect(early == false)
        #expect(opened == true)
        #expect(value.withLock { $0 } == 11)
        gate.close()
        #expect(gate.isOpen == false)
    }

    @Test func `a kick interrupts a thread that is blocked in a system call`() throws {
        let signal = try RealTimeSignal(index: 7)
        let identity = Mutex<ThreadIdentity?>(nil)
        let started = Gate()
        let shared = try SharedPoller()
        let returned = Gate()
        let number = Mutex(0)
        let thread = try BlockingThread(name: "blocked") {
            identity.withLock { $0 = .current }
            started.open()
            // Empty because of the signal: the time limit is far away.
            let ready = try? shared.poller.wait(for: .seconds(30))
            number.withLock { $0 = ready?.count ?? -1 }
            returned.open()
        }
        started.wait()
        let start = ContinuousClock.now
        while !returned.wait(for: .milliseconds(1)) {
            if let target = identity.withLock({ $0 }) { signal.send(to: target) }
            try #require(ContinuousClock.now - start < .seconds(10))
        }
        thread.join()
        #expect(number.withLock { $0 } == 0)
    }
}

private final class SharedPoller: Sendable {
    let poller: Poller
    init() throws(SystemError) { poller = try Poller() }
}
