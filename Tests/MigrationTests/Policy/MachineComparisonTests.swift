import MigrationStream
import Testing

@testable import Migration

@Suite("Comparing machines") struct MachineComparisonTests {
    private let disk = "virtio-mmio@00000000feb02e00/virtio-blk"
    private let net = "virtio-mmio@00000000feb02c00/virtio-net"

    private func machine(
        cpus: UInt32 = 1, _ devices: [String] = [], avx2: Bool = false, more: UInt32 = 0
    ) -> MachineDescription {
        MachineDescription(
            cpuCount: cpus, devices: devices,
            processor: [
                .init(leaf: 1, register: .ecx, bits: 1 << 0 | 1 << 28),
                .init(leaf: 7, register: .ebx, bits: (avx2 ? 1 << 5 : 0) | 1 << 8),
                .init(leaf: 0x8000_0021, register: .eax, bits: more),
            ])
    }

    @Test func `equal machines take each other's guests`() {
        #expect(MachineComparison.obstacle(here: machine([disk, net]), stream: machine([net, disk])) == nil)
    }

    @Test func `a host that can do more takes the guest, one that can do less does not`() {
        #expect(MachineComparison.obstacle(here: machine(avx2: true), stream: machine()) == nil)
        #expect(
            MachineComparison.obstacle(here: machine(), stream: machine(avx2: true))
                == "The guest may use avx2 of the source's processor, which this host's does not have.")
    }

    @Test func `features are named, of many the first`() {
        #expect(
            MachineComparison.obstacle(here: machine(), stream: machine(avx2: true, more: 1 << 3))
                == "The guest may use avx2 and CPUID 0x80000021 eax bit 3 of the source's processor, "
                + "which this host's does not have.")
        let none = MachineDescription(cpuCount: 1, devices: [], processor: [])
        #expect(
            MachineComparison.obstacle(here: none, stream: machine(avx2: true, more: 0xFF))
                == "The guest may use sse3, avx, avx2, bmi2, CPUID 0x80000021 eax bit 0, "
                + "CPUID 0x80000021 eax bit 1 and 6 more of the source's processor, which this host's does not have.")
    }

    @Test func `devices are named, whichever side has them`() {
        #expect(
            MachineComparison.obstacle(here: machine(), stream: machine([disk]))
                == "The source has \(disk), which this machine does not have.")
        #expect(
            MachineComparison.obstacle(here: machine([net]), stream: machine([disk]))
                == "The source has \(disk), which this machine does not have, and this machine has \(net), "
                + "which the source does not have.")
    }

    @Test func `virtual CPUs are counted`() {
        #expect(
            MachineComparison.obstacle(here: machine(cpus: 2), stream: machine(cpus: 1))
                == "The machine has 2 virtual CPUs here and 1 in the stream.")
    }
}
