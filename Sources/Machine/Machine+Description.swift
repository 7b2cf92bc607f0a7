internal import CLinux
internal import Devices
internal import KVM
public import MigrationStream

/// What both sides of a migration must have in common, apart from memory.
extension Machine {
    /// The virtual CPUs, the devices that a configuration may have or not, and what the guest's processor says it can do.
    ///
    /// May be called at any time: nothing of it changes.
    public func describe() throws -> MachineDescription? {
        let entries = GuestCPUID.entries(
            supported: try kvm.system.supportedCPUID(), index: 0, count: configuration.cpuCount,
            hasDeadlineTimer: kvm.system.value(of: .tscDeadlineTimer) != 0)
        let devices = (clockDevice.map { [$0.sectionName] } ?? []) + transportSections.map(\.name)
        return MachineDescription(
            cpuCount: UInt32(configuration.cpuCount), devices: devices,
            processor: Self.featureRegisters.compactMap { leaf, subleaf, register in
                guard let entry = entries.first(where: { $0.function == leaf && $0.index == subleaf }) else {
                    return nil
                }
                return MachineDescription.ProcessorWord(
                    leaf: leaf, subleaf: subleaf, register: register, bits: entry[register])
            })
    }

    /// Registers of CPUID in which every bit is a feature of its own.
    private static let featureRegisters: [(UInt32, UInt32, MachineDescription.ProcessorWord.Register)] = [
        (1, 0, .ecx), (1, 0, .edx), (7, 0, .ebx), (7, 0, .ecx), (7, 0, .edx), (7, 1, .eax), (0xD, 0, .eax),
        (0xD, 1, .eax), (0x4000_0001, 0, .eax), (0x8000_0001, 0, .ecx), (0x8000_0001, 0, .edx),
        (0x8000_0007, 0, .edx), (0x8000_0008, 0, .ebx), (0x8000_0021, 0, .eax),
    ]
}

extension kvm_cpuid_entry2 {
    fileprivate subscript(register: MachineDescription.ProcessorWord.Register) -> UInt32 {
        switch register {
        case .eax: eax
        case .ebx: ebx
        case .ecx: ecx
        case .edx: edx
        }
    }
}
