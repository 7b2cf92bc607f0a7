internal import KVM
internal import Synchronization

/// Tells which virtual CPU stands still for a page when a thread of the kernel waits for it in the virtual CPU's place.
///
/// KVM does not let a virtual CPU wait inside the guest's access: a thread of the kernel waits, and the virtual CPU is
/// halted until the page is there (asynchronous page faults). userfaultfd then names the kernel's thread. A virtual CPU
/// that is blocked although the guest has not halted it waits for a page, and for one only. A guest that is told of the
/// page instead, as Linux is, and does something else meanwhile, does not stand still: then there is nobody to name.
/// Of several that are on their way to wait at once one is taken for another now and then.
final class PageWaits: Sendable {
    private let statistics: [VirtualCPUStatistics]
    private let seen: Mutex<[VirtualCPUStatistics.Values]>

    /// Nil where the kernel does not tell (before Linux 5.14).
    init?(_ cpus: [KVMVirtualCPU]) {
        do {
            statistics = try cpus.map { try $0.openStatistics() }
            seen = Mutex(try statistics.map { try $0.read() })
        } catch { return nil }
    }

    /// The virtual CPU that waits for the page of which the kernel has just told. Called once for each such page.
    func findNext() -> Int? {
        seen.withLock { seen in
            var waiting: Int?
            var found = [UInt64](repeating: 0, count: statistics.count)
            var aboutToWait: Int?
            for (index, source) in statistics.enumerated() {
                guard let now = try? source.read() else { return nil }
                found[index] = now.pageFaultCount
                let hasFaulted = now.pageFaultCount != seen[index].pageFaultCount
                if !now.isBlocked {
                    // Its page faults stay to be told of: it may only be on its way to wait.
                    seen[index].haltCount = now.haltCount
                    if hasFaulted && aboutToWait == nil { aboutToWait = index }
                } else if waiting == nil && hasFaulted && now.haltCount == seen[index].haltCount {
                    waiting = index
                    seen[index] = now
                }
            }
            if let waiting { return waiting }
            if let aboutToWait { seen[aboutToWait].pageFaultCount = found[aboutToWait] }
            return aboutToWait
        }
    }
}
