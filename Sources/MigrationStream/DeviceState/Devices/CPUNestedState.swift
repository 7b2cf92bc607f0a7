/// The state that KVM keeps for the guest's own hypervisor (KVM_GET_NESTED_STATE).
public struct CPUNestedState: StateFormat, Equatable, Sendable {
    public static let vmsdName = "cpu/kvm_nested_state"
    public static let currentVersion = 1
    /// Bytes of one control block.
    public static let controlBlockByteCount = 4096

    public var flags: UInt16 = 0
    /// 0 VMX, 1 SVM.
    public var format: UInt16 = 0
    /// Bytes of the kernel's structure.
    public var byteCount: UInt32 = 0
    public var vmx: VMX?
    public var svm: SVM?

    public struct VMX: Equatable, Sendable {
        public var vmxonAddress: UInt64 = .max
        public var vmcs12Address: UInt64 = .max
        public var smmFlags: UInt16 = 0
        /// 4096 bytes each.
        public var vmcs12: [UInt8]?
        public var shadowVMCS12: [UInt8]?

        public init() {}
    }

    public struct SVM: Equatable, Sendable {
        public var vmcbAddress: UInt64 = 0
        /// 4096 bytes.
        public var vmcb12 = [UInt8](repeating: 0, count: controlBlockByteCount)

        public init() {}
    }

    public init() {}

    public mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("flags", &flags)
        try coder.field("format", &format)
        try coder.field("size", &byteCount)
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("cpu/kvm_nested_state/vmx", isNeeded: vmx != nil) { coder throws(StateError) in
                var state = vmx ?? VMX()
                try state.transfer(&coder)
                vmx = state
            }
            try coder.subsection("cpu/kvm_nested_state/svm", isNeeded: svm != nil) { coder throws(StateError) in
                var state = svm ?? SVM()
                try coder.field("hdr.svm.vmcb_pa", &state.vmcbAddress)
                try coder.field("data.svm[0].vmcb12", &state.vmcb12, count: Self.controlBlockByteCount)
                svm = state
            }
        }
    }
}

extension CPUNestedState.VMX {
    mutating func transfer(_ coder: inout StateCoder) throws(StateError) {
        try coder.field("hdr.vmx.vmxon_pa", &vmxonAddress)
        try coder.field("hdr.vmx.vmcs12_pa", &vmcs12Address)
        try coder.field("hdr.vmx.smm.flags", &smmFlags)
        let count = CPUNestedState.controlBlockByteCount
        try coder.subsections { coder throws(StateError) in
            try coder.subsection("cpu/kvm_nested_state/vmx/vmcs12", isNeeded: vmcs12 != nil) {
                coder throws(StateError) in
                var block = vmcs12 ?? []
                try coder.field("data.vmx[0].vmcs12", &block, count: count)
                vmcs12 = block
            }
            try coder.subsection("cpu/kvm_nested_state/vmx/shadow_vmcs12", isNeeded: shadowVMCS12 != nil) {
                coder throws(StateError) in
                var block = shadowVMCS12 ?? []
                try coder.field("data.vmx[0].shadow_vmcs12", &block, count: count)
                shadowVMCS12 = block
            }
        }
    }
}
