import Monitor
import QMP
import Synchronization
import Testing

@Suite("The state driver", .timeLimit(.minutes(5))) struct StateDriverTests {
    private let machine = TestMachine()
    private let events = TestEvents()

    private func driver(_ initial: RunState = .prelaunch, startsOnArrival: Bool = true) -> StateDriver {
        StateDriver(machine: machine, events: events, initial: initial, startsOnArrival: startsOnArrival)
    }

    @Test func `stops and continues, each once`() async throws {
        let driver = driver()
        for _ in 0..<2 { try await driver.cont() }
        #expect(driver.state == .running)
        for _ in 0..<2 { try await driver.stop() }
        #expect(driver.state == .paused)
        #expect(machine.calls == ["resume", "pause"])
        #expect(events.names == ["RESUME", "STOP"])
    }

    @Test func `keeps the state when the machine fails`() async throws {
        let driver = driver()
        try await driver.cont()
        machine.fail(["pause", "resume"])
        await #expect(throws: QMPError("the machine failed to pause")) { try await driver.stop() }
        #expect(driver.state == .running)
        machine.fail(["resume"])
        try await driver.stop()
        await #expect(throws: QMPError("the machine failed to resume")) { try await driver.cont() }
        #expect(driver.state == .paused)
        #expect(events.names == ["RESUME", "STOP"])
    }

    @Test func `tells of a resumed guest before its first instruction`() async throws {
        let driver = driver()
        let seen = Mutex<[String]>([])
        machine.state.withLock { [events] in $0.onResume = { seen.withLock { $0 = events.names } } }
        try await driver.cont()
        #expect(seen.withLock { $0 } == ["RESUME"])
    }

    @Test func `makes changes one after the other`() async throws {
        let driver = driver()
        try await driver.cont()
        machine.hold("pause")
        async let stop: Void = driver.stop()
        while !machine.isWaiting { await Task.yield() }
        async let cont: Void = driver.cont()
        // The second change has every chance to come in between.
        for _ in 0..<1000 { await Task.yield() }
        #expect(machine.calls == ["resume"])
        #expect(machine.release())
        _ = try await (stop, cont)
        #expect(machine.calls == ["resume", "pause", "resume"])
        #expect(events.names == ["RESUME", "STOP", "RESUME"])
    }

    @Test func `carries a source through a migration, and back after a failure`() async throws {
        let driver = driver()
        try await driver.cont()
        let before = try driver.beginSwitchover()
        #expect(before == .running)
        #expect(driver.state == .finishMigration)
        await #expect(throws: QMPError("Migration is not finalized yet")) { try await driver.cont() }
        try driver.undoSwitchover(to: before)
        #expect(driver.state == .running)
        _ = try driver.beginSwitchover()
        try driver.completeMigration()
        #expect(driver.state == .postMigration)
        #expect(events.names == ["RESUME", "STOP", "RESUME", "STOP"])
        try await driver.cont()
        #expect(driver.state == .running)
    }

    @Test func `brings a paused source back to paused`() async throws {
        let driver = driver()
        try await driver.cont()
        try await driver.stop()
        let before = try driver.beginSwitchover()
        #expect(before == .paused)
        try driver.undoSwitchover(to: before)
        #expect(driver.state == .paused)
        #expect(machine.calls == ["resume", "pause"])
    }

    @Test(arguments: [
        (RunState.running, true, false, RunState.running), (.running, false, false, .paused),
        (.running, true, true, .paused), (.paused, true, false, .paused), (.prelaunch, true, false, .prelaunch),
        (.ioError, true, false, .ioError), (.postMigration, true, false, .postMigration),
        (.debug, true, false, .paused),
    ])
    func `lets a guest arrive`(source: RunState, starts: Bool, isStopped: Bool, result: RunState) async throws {
        let driver = driver(.incomingMigration, startsOnArrival: starts)
        if isStopped { try await driver.stop() }
        #expect(driver.state == .incomingMigration)
        try driver.arrive(from: source)
        #expect(driver.state == result)
        #expect(machine.calls == (result == .running ? ["resume"] : []))
    }

    @Test func `resets a running guest and leaves a stopped one as before its start`() async throws {
        let driver = driver()
        try await driver.cont()
        try await driver.reset(.guestReset)
        #expect(driver.state == .running)
        try await driver.stop()
        try await driver.reset()
        #expect(driver.state == .prelaunch)
        #expect(machine.calls == ["resume", "pause", "reset", "resume", "pause", "reset"])
        #expect(events.names == ["RESUME", "RESET", "STOP", "RESET"])
    }

    @Test func `asks for a reset after a shutdown or an internal error`() async throws {
        let needed = QMPError("Resetting the Virtual Machine is required")
        let first = driver()
        try await first.cont()
        try await first.shutDown(.guestShutdown)
        #expect(first.state == .shutdown)
        await #expect(throws: needed) { try await first.cont() }
        try await first.reset()
        try await first.cont()
        try await first.stopped(by: .internalError)
        #expect(first.state == .internalError)
        await #expect(throws: needed) { try await first.cont() }
        #expect(events.names == ["RESUME", "SHUTDOWN", "STOP", "RESET", "RESUME", "STOP"])
    }

    @Test func `continues after an error of a disk`() async throws {
        let driver = driver()
        try await driver.cont()
        try await driver.stopped(by: .ioError)
        #expect(driver.state == .ioError)
        try await driver.cont()
        #expect(driver.state == .running)
    }

    @Test func `refuses what cannot be`() async throws {
        let driver = driver()
        #expect(throws: StateDriver.TransitionError.self) { try driver.completeMigration() }
        #expect(driver.state == .prelaunch)
    }
}
