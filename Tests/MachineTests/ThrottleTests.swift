import BuiltInGuest
import Foundation
import GuestSupport
import LinuxSystem
import Migration
import Synchronization
import Testing
import Transports

@testable import Machine

/// A guest that writes faster than the link carries: 16 MiB again and again, over 10 MB/s.
@Suite(
    "Throttles of a machine", .enabled(if: hasKVM, "/dev/kvm cannot be opened"), .serialized, .timeLimit(.minutes(3)))
struct ThrottleTests {
    private static let bandwidth = 10_000_000

    @Test func `without a throttle it does not converge`() throws {
        var policy = MigrationPolicy()
        policy.timeout = MigrationPolicy.Timeout(limit: .seconds(5), action: .cancel)
        let attempt = try Attempt(rate: .unlimited, policy: policy, bandwidth: Self.bandwidth)
        let result = attempt.run()
        #expect(result.error?.contains("timeout") == true, "\(result)")
        #expect(result.statistics.passes.count >= 2 && attempt.source.runsAtFullSpeed())
    }

    @Test(arguments: [nil, 4096]) func `a stun makes it converge`(dirtyRingCapacity: Int?) throws {
        let policy = MigrationPolicy(throttling: .stun(StunThrottle()))
        let attempt = try Attempt(
            rate: .unlimited, policy: policy, bandwidth: Self.bandwidth, dirtyRingCapacity: dirtyRingCapacity)
        attempt.expectArrival()
    }

    @Test func `a dirty limit makes it converge`() throws {
        var limit = DirtyLimit()
        limit.bytesPerSecond = 2 << 20
        let attempt = try Attempt(
            rate: .unlimited, policy: MigrationPolicy(throttling: .dirtyLimit(limit)), bandwidth: Self.bandwidth,
            dirtyRingCapacity: 4096)
        attempt.expectArrival()
    }

    @Test func `auto-converge makes it converge`() throws {
        var throttle = AutoConverge()
        throttle.initial = 60
        throttle.increment = 39
        let attempt = try Attempt(
            rate: .mebibytesPerSecond(60), policy: MigrationPolicy(throttling: .autoConverge(throttle)),
            bandwidth: Self.bandwidth)
        attempt.expectArrival()
    }

    @Test(arguments: [true, false]) func `a cancel and a failure lift it`(isCancel: Bool) throws {
        var ending = DowntimeLimitRule()
        ending.limit = .zero
        let policy = MigrationPolicy(ending: .downtimeLimit(ending), throttling: .stun(StunThrottle()))
        let attempt = try Attempt(rate: .unlimited, policy: policy, bandwidth: Self.bandwidth)
        let result = attempt.run { outgoing, incoming in
            let gate = Gate()
            while outgoing.statistics.throttle == .none { gate.wait(for: .milliseconds(20)) }
            let before = attempt.source.lines.guestLines.count
            _ = attempt.source.lines.waitForReport(after: before)
            if isCancel { outgoing.cancel() } else { incoming.cancel() }
        }
        #expect(result.error != nil && result.statistics.throttle == .none, "\(result)")
        #expect(attempt.source.runsAtFullSpeed())
    }

    @Test func `a debt is paid off by waiting, and who may do anything never waits`() {
        var allowance = DirtyAllowance(pagesPerPeriod: [40, nil], period: .milliseconds(10))
        #expect(allowance.charge([40, 4000], elapsed: .milliseconds(10)) == [false, false])
        #expect(allowance.charge([130, 4000], elapsed: .milliseconds(10)) == [true, false])
        #expect(allowance.charge([0, 4000], elapsed: .milliseconds(10)) == [true, false])
        #expect(allowance.charge([0, 4000], elapsed: .milliseconds(20)) == [false, false])
        // Nothing is saved up for later.
        #expect(allowance.charge([0, 0], elapsed: .seconds(1)) == [false, false])
        #expect(allowance.charge([41, 0], elapsed: .milliseconds(10)) == [true, false])
    }
}

/// One migration between two machines of this process, over a UNIX socket.
private final class Attempt {
    let source: GuestMachine
    let destination: GuestMachine
    private let path = "\(FileManager.default.temporaryDirectory.path)/apus-\(UInt32.random(in: 0...UInt32.max))"
    private let policy: MigrationPolicy
    private let bandwidth: Int

    struct Result {
        var error: String?
        var statistics = MigrationStatistics()
    }

    init(
        rate: BuiltInGuestParameters.Rate, policy: MigrationPolicy, bandwidth: Int, dirtyRingCapacity: Int? = nil
    ) throws {
        var parameters = try livelyParameters(cpuCount: 2)
        parameters.dirtyRate = rate
        source = try GuestMachine(cpuCount: 2, parameters: parameters, dirtyRingCapacity: dirtyRingCapacity)
        destination = try GuestMachine(cpuCount: 2, parameters: nil, dirtyRingCapacity: dirtyRingCapacity)
        self.policy = policy
        self.bandwidth = bandwidth
    }

    /// Lets the guest run and moves it; `meanwhile` may end that.
    func run(_ meanwhile: (OutgoingMigration, IncomingMigration) -> Void = { _, _ in }) -> Result {
        let result = Mutex(Result())
        do {
            try source.machine.resume()
            _ = source.lines.waitForReport()
            let address = try MigrationAddress(parsing: "unix:\(path)")
            let incoming = IncomingMigration(
                machine: destination.machine, listener: try Transports.listener(for: address))
            var options = MigrationOptions()
            options.maximumBandwidth = bandwidth
            let outgoing = OutgoingMigration(
                machine: source.machine, connector: try Transports.connector(for: address), options: options,
                policy: policy)
            let receiving = try BlockingThread(name: "destination") { _ = incoming.run(PausedGuest()) }
            let sending = try BlockingThread(name: "source") {
                let outcome = outgoing.run(.running(RunningGuest()))
                if case .failed(let error, _) = outcome { result.withLock { $0.error = "\(error)" } }
            }
            meanwhile(outgoing, incoming)
            sending.join()
            incoming.cancel()
            receiving.join()
            result.withLock { $0.statistics = outgoing.statistics }
        } catch { result.withLock { $0.error = "\(error)" } }
        return result.withLock { $0 }
    }

    /// Moves the guest, which must arrive, within its downtime limit but for a busy host, and run there as before.
    func expectArrival() {
        let result = run()
        #expect(result.error == nil && result.statistics.phase == .completed, "\(result)")
        #expect(result.statistics.passes.count >= 2)
        // Its whole memory would take 1.6 s.
        let last = result.statistics.passes.last?.remainingByteCount ?? .max
        #expect(last < 8 << 20, "\(result.statistics.passes.map(\.remainingByteCount))")
        let report = destination.lines.waitForReport()
        #expect(report?.isClean == true && destination.lines.waitForReport(after: 3) != nil)
        #expect(destination.events.failures == [] && source.events.failures == [])
    }
}

extension GuestMachine {
    /// Whether the guest, which writes as fast as it can, dirties far more in a period than a throttle lets it.
    fileprivate func runsAtFullSpeed() -> Bool {
        let reports = lines.guestLines.count
        guard let first = lines.waitForReport(after: reports + 1) else { return false }
        return lines.waitForReport(after: reports + 2) { $0.dirtiedPageCount - first.dirtiedPageCount > 10_000 } != nil
    }
}
