import BuiltInGuest
import GuestSupport
import KVM
import LinuxSystem
import Testing

extension KVMTests {
    @Suite("Kick") struct KickTests {
        @Test func `brings every virtual CPU out of a busy guest soon`() throws {
            var configuration = BareMachine.Configuration()
            configuration.cpuCount = 2
            let machine = try BareMachine(configuration)
            try machine.boot(
                lively {
                    $0.cpuCount = 2
                    $0.period = 5000
                })
            try machine.resume()
            try #require(machine.lines.waitForStart() != nil, "\(machine.lines.all)")
            var times: [Duration] = []
            for _ in 0..<50 {
                // Both are in the guest again: it counts its rounds.
                for cpu in 0..<2 { try #require(hasProgress(machine, cpu: cpu)) }
                let start = ContinuousClock.now
                machine.pause()
                times.append(ContinuousClock.now - start)
                try machine.resume()
            }
            machine.stop()
            times.sort()
            print("kick: median \(times[25]), longest \(times[49]), 2 virtual CPUs, 50 samples")
            // Without a kick the guest comes out when it prints its next line, some seconds later. The limit is for a
            // host that emulates one and is busy.
            #expect(times[25] < .milliseconds(100))
            #expect(times[49] < .seconds(1))
        }

        /// Waits until the guest's work on a virtual CPU goes on.
        private func hasProgress(_ machine: BareMachine, cpu: Int) -> Bool {
            let rounds = 0x21_0000 + cpu * 0x2000 + 136
            let before = machine.memory.bytes.load(fromByteOffset: rounds, as: Int.self)
            let limit = ContinuousClock.now + .seconds(10)
            while ContinuousClock.now < limit {
                if machine.memory.bytes.load(fromByteOffset: rounds, as: Int.self) != before { return true }
            }
            return false
        }

        @Test func `what KVM counts tells a virtual CPU at work from one that was never run`() throws {
            let machine = try BareMachine(.init())
            let statistics = try machine.cpus[0].openStatistics()
            let before = try statistics.read()
            #expect(before == .init(pageFaultCount: 0, haltCount: 0, isBlocked: false))
            try machine.boot(lively())
            try machine.resume()
            try #require(machine.lines.waitForStart() != nil, "\(machine.lines.all)")
            machine.stop()
            let after = try statistics.read()
            #expect(after.pageFaultCount > 0)
        }

        @Test func `an exit request made before running is not lost`() throws {
            let machine = try BareMachine(.init())
            try machine.boot(lively())
            let cpu = machine.cpus[0]
            cpu.requestExit()
            var isInterrupted = false
            if case .interrupted = try cpu.run() { isInterrupted = true }
            #expect(isInterrupted)
            #expect(cpu.isExitRequested)
            cpu.clearExitRequest()
            #expect(!cpu.isExitRequested)
        }
    }
}
