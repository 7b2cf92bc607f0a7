// KVM: one type per descriptor, one method per ioctl, exits as an enum, and no policy.
//
// Read KVMSystem, KVMVirtualMachine and KVMVirtualCPU first. Registers travel as the kernel's own structures, which
// CLinux imports. This module knows neither devices nor migration, and must never import them.

public import CLinux
public import LinuxSystem

/// The kernel's KVM: what it can do, and the making of virtual machines.
public final class KVMSystem: Sendable {
    let descriptor: OwnedDescriptor

    /// Opens /dev/kvm.
    ///
    /// - Throws: ENOENT without KVM, EACCES without permission, ENODEV for an interface that is not version 12.
    public init(path: String = "/dev/kvm") throws(SystemError) {
        let opened = try OwnedDescriptor(opening: path, for: .readingAndWriting)
        let version = try check(
            clinux_kvm_value(opened.number, UInt(CLINUX_KVM_GET_API_VERSION), 0), "KVM_GET_API_VERSION", path)
        guard version == KVM_API_VERSION else {
            throw SystemError(call: "KVM_GET_API_VERSION \(version)", subject: path, number: 19)
        }
        descriptor = opened
    }

    /// The value of a capability, 0 when it is missing.
    public func value(of capability: KVMCapability) -> Int {
        Int(
            max(
                0,
                clinux_kvm_value(
                    descriptor.number, UInt(CLINUX_KVM_CHECK_EXTENSION), UInt(capability.rawValue))))
    }

    /// The CPUID leaves that a virtual CPU can have here.
    public func supportedCPUID() throws(SystemError) -> [kvm_cpuid_entry2] {
        try cpuidEntries(of: descriptor.number, CLINUX_KVM_GET_SUPPORTED_CPUID, "KVM_GET_SUPPORTED_CPUID")
    }

    /// The model-specific registers that belong to a virtual CPU's state.
    public func msrIndices() throws(SystemError) -> [UInt32] {
        try msrIndices(CLINUX_KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST")
    }

    /// The model-specific registers that describe the host's features, read with `featureMSRs`.
    public func featureMSRIndices() throws(SystemError) -> [UInt32] {
        try msrIndices(CLINUX_KVM_GET_MSR_FEATURE_INDEX_LIST, "KVM_GET_MSR_FEATURE_INDEX_LIST")
    }

    /// Makes a virtual machine without memory, virtual CPUs or devices.
    public func makeVirtualMachine() throws(SystemError) -> KVMVirtualMachine {
        let number = try check(
            clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_CREATE_VM), 0), "KVM_CREATE_VM")
        return KVMVirtualMachine(system: self, descriptor: OwnedDescriptor(adopting: number))
    }

    /// How much of a virtual CPU's descriptor is mapped.
    func virtualCPUMappingSize() throws(SystemError) -> Int {
        Int(
            try check(
                clinux_kvm_value(descriptor.number, UInt(CLINUX_KVM_GET_VCPU_MMAP_SIZE), 0), "KVM_GET_VCPU_MMAP_SIZE"))
    }

    private func msrIndices(_ request: some BinaryInteger, _ call: String) throws(SystemError) -> [UInt32] {
        var count: UInt32 = 1024
        var indices = [UInt32](repeating: 0, count: Int(count))
        _ = try check(clinux_kvm_msr_indices(descriptor.number, UInt(request), &indices, &count), call)
        return Array(indices.prefix(Int(count)))
    }
}

/// The leaves behind `descriptor`; the list grows until they fit.
func cpuidEntries(of descriptor: Int32, _ request: some BinaryInteger, _ call: String) throws(SystemError)
    -> [kvm_cpuid_entry2]
{
    var capacity: UInt32 = 128
    while true {
        var count = capacity
        var entries = [kvm_cpuid_entry2](repeating: kvm_cpuid_entry2(), count: Int(capacity))
        let result = clinux_kvm_get_cpuid(descriptor, UInt(request), &entries, &count)
        if result == -7 && capacity < 1024 {  // E2BIG
            capacity *= 2
            continue
        }
        _ = try check(result, call)
        return Array(entries.prefix(Int(count)))
    }
}
