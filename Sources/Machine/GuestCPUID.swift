internal import CLinux

/// What the guest's processors say of themselves: what the host supports, less what does not move.
enum GuestCPUID {
    /// The leaves for virtual CPU `index` of `count`, each a package of its own (in a QEMU they are cores of one package).
    ///
    /// - Parameter hasDeadlineTimer: Whether KVM's LAPIC can count to a value of the time stamp counter. KVM tells it by a
    ///   capability, not among the leaves, and without the bit it takes the mode away from a LAPIC that is loaded: the
    ///   timer of a Linux guest that comes from a QEMU, which offers the bit, would never fire again.
    static func entries(supported: [kvm_cpuid_entry2], index: Int, count: Int, hasDeadlineTimer: Bool)
        -> [kvm_cpuid_entry2]
    {
        supported.filter { !isTopology($0.function) }.map { entry in
            var entry = entry
            switch entry.function {
            case 1:
                entry.ebx = entry.ebx & 0x0000_FFFF | UInt32(index) << 24 | UInt32(min(count, 255)) << 16
                // Hypervisor present, x2APIC; no VMX, whose state this machine does not move.
                entry.ecx |= 1 << 31 | 1 << 21 | (hasDeadlineTimer ? 1 << 24 : 0)
                entry.ecx &= ~(1 << 5)
                entry.edx &= ~(1 << 28)  // one logical processor per package
            case 6: (entry.eax, entry.ebx, entry.ecx, entry.edx) = (4, 0, 0, 0)  // the LAPIC timer always runs
            case 0xA: (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0)  // no performance counters
            case 0x8000_0001: entry.ecx &= ~(1 << 2 | 1 << 1 | 1 << 22)  // no SVM, no cores below the package
            case 0x8000_0008: entry.ecx = 0
            case 0x8000_000A: (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0)
            default: break
            }
            return entry
        }
            + topology(index: index)
    }

    /// Leaves that describe how the host's processors are arranged.
    private static func isTopology(_ function: UInt32) -> Bool {
        [0xB, 0x1F, 0x8000_001E, 0x8000_0026].contains(function)
    }

    /// Leaf 11: one thread, one core, and the processor's own x2APIC id.
    private static func topology(index: Int) -> [kvm_cpuid_entry2] {
        (0..<3).map { level in
            var entry = kvm_cpuid_entry2()
            entry.function = 0xB
            entry.index = UInt32(level)
            entry.flags = UInt32(KVM_CPUID_FLAG_SIGNIFCANT_INDEX)
            entry.ebx = level < 2 ? 1 : 0
            entry.ecx = UInt32(level) | (level < 2 ? UInt32(level + 1) << 8 : 0)
            entry.edx = UInt32(index)
            return entry
        }
    }
}
