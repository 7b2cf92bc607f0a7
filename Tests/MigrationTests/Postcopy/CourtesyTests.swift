import Synchronization
import Testing

@testable import Migration

@Suite("A hurried thread's courtesy") struct CourtesyTests {
    private let runtime = WaitingRuntime()

    /// How long it stood back.
    private func standBack(_ courtesy: inout Courtesy, servedCount: Int) -> Duration {
        let start = runtime.now()
        courtesy.standBack(servedCount: servedCount)
        return runtime.now() - start
    }

    @Test func `it stands back once for what was served, if processors are short`() {
        var courtesy = Courtesy(runtime: runtime)
        runtime.isBusy.store(true, ordering: .relaxed)
        runtime.pass(Courtesy.duration * 3)
        #expect(standBack(&courtesy, servedCount: 0) == .zero, "nothing was served")
        #expect(standBack(&courtesy, servedCount: 2) == Courtesy.duration)
        #expect(standBack(&courtesy, servedCount: 2) == .zero, "nothing new was served")
        runtime.isBusy.store(false, ordering: .relaxed)
        runtime.pass(Courtesy.interval * 2)
        #expect(standBack(&courtesy, servedCount: 3) == .zero, "nobody wants the processor")
    }

    @Test func `it stands back now and then when nothing is served`() {
        var courtesy = Courtesy(runtime: runtime)
        runtime.isBusy.store(true, ordering: .relaxed)
        var given = Duration.zero
        for _ in 0..<1000 {
            runtime.pass(.microseconds(100))
            given += standBack(&courtesy, servedCount: 0)
        }
        let part = given / runtime.now()
        #expect(part > 0.04 && part < 0.05, "\(part)")
    }

    @Test func `it does not stand back for more than a part of the time`() {
        var courtesy = Courtesy(runtime: runtime)
        runtime.isBusy.store(true, ordering: .relaxed)
        var given = Duration.zero
        for count in 1...1000 {
            runtime.pass(.microseconds(100))
            given += standBack(&courtesy, servedCount: count)
        }
        let part = given / runtime.now()
        #expect(part > 0.4 && part <= 0.5, "\(part)")
    }
}
