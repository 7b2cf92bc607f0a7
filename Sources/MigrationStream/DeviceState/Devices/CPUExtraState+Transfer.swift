// The functions are called one after the other and name the subsections in the order in which QEMU sends them.

extension CPUExtraState {
    mutating func transferEvents(_ coder: inout StateCoder, isGuestNested: Bool) throws(StateError) {
        let isNeeded = exception.pending != 0 && isGuestNested
        try coder.subsection("cpu/exception_info", isNeeded: isNeeded) { coder throws(StateError) in
            try coder.field("env.exception_pending", &exception.pending)
            try coder.field("env.exception_injected", &exception.injected)
            try coder.field("env.exception_has_payload", &exception.hasPayload)
            try coder.field("env.exception_payload", &exception.payload)
        }
    }

    mutating func transferParavirtual(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection(
            "cpu/async_pf_msr", field: "env.async_pf_en_msr", &asyncPageFaultMSR, isNeeded: asyncPageFaultMSR != 0)
        try coder.subsection(
            "cpu/async_pf_int_msr", field: "env.async_pf_int_msr", &asyncPageFaultInterruptMSR,
            isNeeded: asyncPageFaultInterruptMSR != 0)
        try coder.subsection(
            "cpu/async_pv_eoi_msr", field: "env.pv_eoi_en_msr", &paravirtualEOIMSR,
            isNeeded: paravirtualEOIMSR != 0)
        try coder.subsection(
            "cpu/steal_time_msr", field: "env.steal_time_msr", &stealTimeMSR, isNeeded: stealTimeMSR != 0)
        try coder.subsection(
            "cpu/poll_control_msr", field: "env.poll_control_msr", &pollControlMSR, isNeeded: pollControlMSR != 1)
    }

    mutating func transferBasic(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection("cpu/fpop_ip_dp", isNeeded: floatingPointLast != CPUFloatingPointLast()) {
            coder throws(StateError) in
            try coder.field("env.fpop", &floatingPointLast.opcode)
            try coder.field("env.fpip", &floatingPointLast.instructionPointer)
            try coder.field("env.fpdp", &floatingPointLast.dataPointer)
        }
        try coder.subsection("cpu/msr_tsc_adjust", field: "env.tsc_adjust", &tscAdjust, isNeeded: tscAdjust != 0)
        try coder.subsection(
            "cpu/msr_tscdeadline", field: "env.tsc_deadline", &tscDeadline, isNeeded: tscDeadline != 0)
        try coder.subsection(
            "cpu/msr_ia32_misc_enable", field: "env.msr_ia32_misc_enable", &miscellaneousEnable,
            isNeeded: miscellaneousEnable != 1)
        try coder.subsection(
            "cpu/msr_ia32_feature_control", field: "env.msr_ia32_feature_control", &featureControl,
            isNeeded: featureControl != 0)
        try coder.subsection("cpu/msr_architectural_pmu", isNeeded: performance != CPUPerformanceMonitor()) {
            coder throws(StateError) in
            try coder.field("env.msr_fixed_ctr_ctrl", &performance.fixedControl)
            try coder.field("env.msr_global_ctrl", &performance.globalControl)
            try coder.field("env.msr_global_status", &performance.globalStatus)
            try coder.field("env.msr_global_ovf_ctrl", &performance.globalOverflowControl)
            try coder.field("env.msr_fixed_counters", &performance.fixedCounters, count: 3)
            try coder.field("env.msr_gp_counters", &performance.counters, count: 18)
            try coder.field("env.msr_gp_evtsel", &performance.eventSelects, count: 18)
        }
        try coder.subsection("cpu/mpx", isNeeded: bounds != CPUBounds()) { coder throws(StateError) in
            try coder.structures("env.bnd_regs", &bounds.registers)
            try coder.field("env.bndcs_regs.cfgu", &bounds.userConfiguration)
            try coder.field("env.bndcs_regs.sts", &bounds.status)
            try coder.field("env.msr_bndcfgs", &bounds.supervisorConfiguration)
        }
    }

    mutating func transferVectors(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection("cpu/avx512", isNeeded: avx512 != CPUAVX512()) { coder throws(StateError) in
            try coder.field("env.opmask_regs", &avx512.masks, count: 8)
            try coder.structures("env.xmm_regs[0]", &avx512.high)
            try coder.structures("env.xmm_regs[1]", &avx512.upper)
        }
        try coder.subsection("cpu/xss", field: "env.xss", &xss, isNeeded: xss != 0)
        try coder.subsection("cpu/umwait", field: "env.umwait", &umwait, isNeeded: umwait != 0)
        try coder.subsection("cpu/tsc_khz", isNeeded: tscKilohertz != 0) { coder throws(StateError) in
            try coder.field("env.tsc_khz", &tscKilohertz)
        }
    }

    mutating func transferFeatures(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection("cpu/msr_smi_count", field: "env.msr_smi_count", &smiCount, isNeeded: smiCount != 0)
        try coder.subsection("cpu/pkru", field: "env.pkru", &pkru, isNeeded: pkru != 0)
        try coder.subsection("cpu/pkrs", field: "env.pkrs", &pkrs, isNeeded: pkrs != 0)
        try coder.subsection(
            "cpu/spec_ctrl", field: "env.spec_ctrl", &speculationControl, isNeeded: speculationControl != 0)
        try coder.subsection("cpu/amd_tsc_scale_msr", isNeeded: amdTSCRatio != nil) { coder throws(StateError) in
            var ratio = amdTSCRatio ?? 0
            try coder.field("env.amd_tsc_scale_msr", &ratio)
            amdTSCRatio = ratio
        }
        try coder.subsection(
            "cpu/mcg_ext_ctl", field: "env.mcg_ext_ctl", &machineCheckExtendedControl,
            isNeeded: machineCheckExtendedControl != 0)
        try coder.subsection("cpu/intel_pt", isNeeded: processorTrace != CPUProcessorTrace()) {
            coder throws(StateError) in
            try coder.field("env.msr_rtit_ctrl", &processorTrace.control)
            try coder.field("env.msr_rtit_status", &processorTrace.status)
            try coder.field("env.msr_rtit_output_base", &processorTrace.outputBase)
            try coder.field("env.msr_rtit_output_mask", &processorTrace.outputMask)
            try coder.field("env.msr_rtit_cr3_match", &processorTrace.cr3Match)
            try coder.field("env.msr_rtit_addrs", &processorTrace.addresses, count: 8)
        }
        try coder.subsection("cpu/virt_ssbd", field: "env.virt_ssbd", &virtualSSBD, isNeeded: virtualSSBD != 0)
    }

    mutating func transferNested(_ coder: inout StateCoder, hasNestedPaging: Bool) throws(StateError) {
        // QEMU's own spelling.
        try coder.subsection("cpu/svn_npt", isNeeded: hasNestedPaging) { coder throws(StateError) in
            try coder.field("env.nested_cr3", &nestedCR3)
            try coder.field("env.nested_pg_mode", &nestedPagingMode)
        }
        try coder.subsection(
            "cpu/svm_guest", field: "env.int_ctl", &svmInterruptControl, isNeeded: svmInterruptControl != 0)
        try coder.subsection("cpu/nested_state", isNeeded: nested != nil) { coder throws(StateError) in
            var state = nested ?? CPUNestedState()
            try coder.structure("env.nested_state", &state)
            nested = state
        }
        try coder.subsection("cpu/xen_vcpu", isNeeded: xen != nil) { coder throws(StateError) in
            var state = xen ?? CPUXen()
            try coder.field("env.xen_vcpu_info_gpa", &state.infoAddress)
            try coder.field("env.xen_vcpu_info_default_gpa", &state.defaultInfoAddress)
            try coder.field("env.xen_vcpu_time_info_gpa", &state.timeInfoAddress)
            try coder.field("env.xen_vcpu_runstate_gpa", &state.runStateAddress)
            try coder.field("env.xen_vcpu_callback_vector", &state.callbackVector)
            try coder.field("env.xen_virq", &state.interrupts, count: 24)
            try coder.field("env.xen_singleshot_timer_ns", &state.singleShotTimer)
            try coder.field("env.xen_periodic_timer_period", &state.periodicTimerPeriod)
            xen = state
        }
    }

    mutating func transferLater(_ coder: inout StateCoder) throws(StateError) {
        try coder.subsection("cpu/msr_tsx_ctrl", isNeeded: tsxControl != nil) { coder throws(StateError) in
            var control = tsxControl ?? 0
            try coder.field("env.tsx_ctrl", &control)
            tsxControl = control
        }
        try coder.subsection("cpu/intel_sgx", isNeeded: sgxPublicKeyHash != nil) { coder throws(StateError) in
            var hash = sgxPublicKeyHash ?? []
            try coder.field("env.msr_ia32_sgxlepubkeyhash", &hash, count: 4)
            sgxPublicKeyHash = hash
        }
        try coder.subsection("cpu/pdptrs", isNeeded: pageDirectoryPointers != nil) { coder throws(StateError) in
            var pointers = pageDirectoryPointers ?? []
            try coder.field("env.pdptrs", &pointers, count: 4)
            pageDirectoryPointers = pointers
        }
        try coder.subsection("cpu/msr_xfd", isNeeded: extendedFeatureDisable != nil) { coder throws(StateError) in
            var state = extendedFeatureDisable ?? CPUExtendedFeatureDisable()
            try coder.field("env.msr_xfd", &state.mask)
            try coder.field("env.msr_xfd_err", &state.error)
            extendedFeatureDisable = state
        }
        try coder.subsection("cpu/intel_amx_xtile", isNeeded: amx != nil) { coder throws(StateError) in
            var state = amx ?? CPUAMX()
            try coder.field("env.xtilecfg", &state.configuration, count: 64)
            try coder.field("env.xtiledata", &state.data, count: 8192)
            amx = state
        }
        try coder.subsection("cpu/arch_lbr", isNeeded: lastBranches != nil) { coder throws(StateError) in
            var state = lastBranches ?? CPULastBranches()
            try coder.field("env.msr_lbr_ctl", &state.control)
            try coder.field("env.msr_lbr_depth", &state.depth)
            try coder.structures("env.lbr_records", &state.records)
            lastBranches = state
        }
        try coder.subsection("cpu/triple_fault", isNeeded: tripleFaultPending != 0) { coder throws(StateError) in
            try coder.field("env.triple_fault_pending", &tripleFaultPending)
        }
    }
}
