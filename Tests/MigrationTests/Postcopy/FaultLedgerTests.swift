import GuestMemory
import MigrationTestSupport
import Testing

@testable import Migration

@Suite("Who waits for which page") struct FaultLedgerTests {
    private let simulation = Simulation(seed: 1)

    private func ledger() throws -> FaultLedger {
        let machine = try SimulatedMachine(name: "to", simulation: simulation, pageCounts: [64])
        return FaultLedger(memory: ReceivedMemory(machine: machine), virtualCPUCount: 2, runtime: simulation)
    }

    private func pass(_ time: Duration) { simulation.wait(for: Simulation.Key(), until: simulation.now() + time) }

    private func statistics(_ ledger: FaultLedger) -> IncomingPostcopyStatistics {
        var statistics = IncomingPostcopyStatistics()
        ledger.fill(&statistics)
        return statistics
    }

    private func arrive(_ page: Int, _ ledger: FaultLedger) {
        ledger.end(region: 0, PageRange(first: PageIndex(page), pageCount: 1))
    }

    /// Somebody waits for `page`, which is not there.
    private func begin(_ page: Int, _ ledger: FaultLedger) -> FaultLedger.Wait {
        let wait = ledger.begin(.init(region: 0, page: page))
        ledger.add(wait) { false }
        return wait
    }

    @Test func `the first to wait for a page is the one who asks, and both wait`() throws {
        let ledger = try ledger()
        let first = begin(7, ledger)
        pass(.milliseconds(1))
        let second = begin(7, ledger)
        #expect(first.isFirst && !second.isFirst)
        #expect(ledger.isWanted(region: 0, PageRange(first: PageIndex(0), pageCount: 64)))
        ledger.add(0, to: first)
        ledger.add(1, to: second)
        pass(.milliseconds(2))
        arrive(7, ledger)
        let found = statistics(ledger)
        #expect(found.faultCount == 2 && found.joinedFaultCount == 1 && found.waitingPageCount == 0)
        #expect(found.latencies.count == 1 && found.latencies.maximum == .milliseconds(3))
        #expect(found.virtualCPULatencies.map(\.maximum) == [.milliseconds(3), .milliseconds(2)])
        #expect(found.blocktime == .milliseconds(2), "both stood still for as long as the second did")
        #expect(!ledger.isWanted(region: 0, PageRange(first: PageIndex(7), pageCount: 1)))
    }

    @Test func `who has waited is known also when the page has come before it was asked who`() throws {
        let ledger = try ledger()
        let wait = begin(3, ledger)
        pass(.milliseconds(1))
        arrive(3, ledger)
        ledger.add(1, to: wait)
        let found = statistics(ledger)
        #expect(found.virtualCPULatencies.map(\.count) == [0, 1])
        #expect(found.virtualCPULatencies[1].maximum == .milliseconds(1))
        // It does not stand still for good.
        ledger.add(1, to: begin(4, ledger))
        pass(.milliseconds(5))
        arrive(4, ledger)
        #expect(statistics(ledger).virtualCPULatencies[1].maximum == .milliseconds(5))
        #expect(statistics(ledger).blocktime == .zero)
    }

    @Test func `a page that comes before its wait is written down is not waited for any more`() throws {
        let ledger = try ledger()
        let wait = ledger.begin(.init(region: 0, page: 5))
        #expect(ledger.isWanted(region: 0, PageRange(first: PageIndex(5), pageCount: 1)))
        pass(.milliseconds(1))
        arrive(5, ledger)
        ledger.add(wait) { true }
        ledger.add(0, to: wait)
        let found = statistics(ledger)
        #expect(found.faultCount == 1 && found.waitingPageCount == 0 && ledger.waiting.isEmpty)
        #expect(found.latencies.maximum == .milliseconds(1))
        #expect(found.virtualCPULatencies.map(\.maximum) == [.milliseconds(1), .zero])
    }
}
