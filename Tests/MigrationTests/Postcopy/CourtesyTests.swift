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
        runtime.pass(.seconds(1))
        #expect(standBack(&courtesy, servedCount: 0) == .zero)
        #expect(standBack(&courtesy, servedCount: 1) == .zero, "nobody wanted the processor")
        runtime.interrupt()
        #expect(standBack(&courtesy, servedCount: 1) == .zero, "nothing new was served")
        #expect(standBack(&courtesy, servedCount: 3) == Courtesy.duration)
        #expect(standBack(&courtesy, servedCount: 4) == .zero, "nobody wanted it since")
    }

    @Test func `it does not stand back for more than a part of the time`() {
        var courtesy = Courtesy(runtime: runtime)
        var given = Duration.zero
        for count in 1...1000 {
            runtime.interrupt()
            runtime.pass(.microseconds(100))
            given += standBack(&courtesy, servedCount: count)
        }
        let part = given / runtime.now()
        #expect(part > 0.4 && part <= 0.5, "\(part)")
    }
}
