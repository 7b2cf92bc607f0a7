internal import KVM
internal import LinuxSystem
internal import MigrationStream

/// Gives the virtual CPUs of a machine the time stamp counters of another.
///
/// Where the guest's counters ran together they must do so again, and KVM decides that by guessing: a value within a
/// second of what the counter set last would show is taken for an attempt to set both equal, and that counter is
/// copied. Kernels before 6.8 do the same with the counters of a new machine, which begin at 0: a guest as old as the
/// machine it is loaded into would see its counter go back. So the first one is set to something far off before.
struct TimeStampCounters {
    /// What to set, one for each virtual CPU.
    let values: [UInt64]
    /// Cycles in a second.
    let frequency: UInt64

    /// - Parameters:
    ///   - saved: read one after the other from virtual CPUs that stood still.
    ///   - frequency: cycles in a second.
    init(saved: [UInt64], frequency: UInt64) {
        self.frequency = frequency
        let (first, last) = (saved.min() ?? 0, saved.max() ?? 0)
        // Only a guest that set them apart has them apart; what else differs is when each was read. The last is not
        // before anything that the guest has seen.
        values = last - first < frequency ? saved.map { _ in last } : saved
    }

    /// Sets them in one go, before anything that is told in their time.
    func set(of cpus: [KVMVirtualCPU]) throws(SystemError) {
        guard let cpu = cpus.first, let value = values.first else { return }
        while true {
            let start = monotonicNanoseconds
            try Self.set(value &+ frequency &* 100_000, of: cpu)
            for (cpu, value) in zip(cpus, values) { try Self.set(value, of: cpu) }
            // A host that stood still for long in between set them apart.
            if monotonicNanoseconds - start < 500_000_000 { return }
        }
    }

    private static func set(_ value: UInt64, of cpu: KVMVirtualCPU) throws(SystemError) {
        _ = try cpu.setMSRs([ModelSpecificRegister(CPUState.timeStampCounterMSR, value)])
    }
}
